"""Write a synthetic cohort in the layout of MIMIC-IV-ECG 1.0, with known findings and reports that agree with them.

It stands in for the real cohort, which only credentialed users may copy: ``preprocess/mimic_iv_ecg.py`` reads both. With --echo
each heart has an ejection fraction that its electrocardiograms show, and a folder ``echo`` stands in for MIMIC-IV-ECHO: tables,
measurements, and embeddings of echo videos' frames instead of the videos (``preprocess/echo_teacher.py``, ``echo_pairs.py``).
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import csv
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.events import EVENTS_FILE, event_writer
from cmelt_plugin.data.files import write_json
from cmelt_plugin.errors import DataError
from preprocess.synthetic_ecg.echo.ejection import ejection_statement, plan_with_ejection
from preprocess.synthetic_ecg.events import record_events
from preprocess.synthetic_ecg.layouts import mimic_iv_ecg_layout
from preprocess.synthetic_ecg.layouts.mimic_echo_layout import FOLDER as ECHO_FOLDER
from preprocess.synthetic_ecg.layouts.mimic_echo_layout import README as ECHO_README
from preprocess.synthetic_ecg.layouts.mimic_echo_layout import EchoFolder, is_of_echo_folder
from preprocess.synthetic_ecg.physiology.subjects import draw_cohort, draw_subject
from preprocess.synthetic_ecg.record import plan_record, render
from preprocess.synthetic_ecg.texts import reports
from preprocess.synthetic_ecg.texts.classes import all_texts, classes, label_row

RECORDS_PER_SUBJECT = 2.5
COHORT_FILES = ("README.txt", "prompts.json", "record_list.csv", "machine_measurements.csv", "labels.csv", EVENTS_FILE)
TITLE = "Synthetic electrocardiograms"
README = """{title}
============================

No patient is behind these files. Signals, identifiers, dates, measurements and reports were computed by
preprocess/synthetic.py; they have the layout of MIMIC-IV-ECG 1.0 so that the same commands read both.
Good for trying out software, useless for conclusions about patients.

record_list.csv, machine_measurements.csv, files/   as in MIMIC-IV-ECG (12 leads, {rate} Hz, 10 s)
labels.csv                                          what each record shows: 0/1 for each finding
prompts.json                                        texts for each finding
events.parquet                                      where waves, pauses and local findings lie, in samples

Made with --records {records} --subjects {subjects} --seed {seed} --rate {rate} --noise {noise} --prevalence {prevalence}

{classes}
"""


def parser() -> argparse.ArgumentParser:
    """Command line."""
    arguments = argparse.ArgumentParser(
        description="Write a synthetic ECG cohort in the layout of MIMIC-IV-ECG 1.0.",
        epilog="example: python preprocess/synthetic.py --records 4000 --seed 1 --dest data/synthetic",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--records", type=option_types.count, required=True, help="number of records")
    arguments.add_argument("--dest", type=Path, required=True, help="folder to write; must be empty or missing")
    arguments.add_argument("--seed", type=option_types.seed, default=1, help="same seed, same files (default: 1)")
    arguments.add_argument(
        "--subjects", type=option_types.count, help=f"number of subjects (default: one for {RECORDS_PER_SUBJECT} records)"
    )
    arguments.add_argument("--rate", type=option_types.count, default=500, help="sample rate in Hz (default: 500)")
    arguments.add_argument(
        "--noise", type=option_types.non_negative_number, default=1.0, help="times the usual noise; 0 for none (default: 1)"
    )
    arguments.add_argument(
        "--prevalence",
        choices=("natural", "balanced"),
        default="natural",
        help="natural: long-tailed, as in hospitals (default); balanced: each cause leads in equally many records",
    )
    arguments.add_argument("--echo", action="store_true", help="also write echocardiograms, which the signals agree with")
    arguments.add_argument(
        "--echo-share", type=option_types.share, default=0.7, help="with --echo: share of records with an echo (default: 0.7)"
    )
    arguments.add_argument(
        "--ejection-in-reports",
        action="store_true",
        help="with --echo: reports also state the ejection fraction, in four ranges, which no electrocardiograph does: texts "
        "on it can then be learned",
    )
    arguments.add_argument("--overwrite", action="store_true", help="replace a synthetic cohort that is there already")
    return arguments


def main(argv: list | None = None) -> int:
    """Write the cohort.

    Raises:
        DataError: arguments that make no sense, or a destination that must not be overwritten.
    """
    arguments = parser().parse_args(argv)
    if arguments.records > 10_000_000:
        raise DataError(f"--records {arguments.records}: between 1 and 10,000,000, please")
    if arguments.subjects is None:
        arguments.subjects = max(1, round(arguments.records / RECORDS_PER_SUBJECT))
    if arguments.subjects > arguments.records:
        raise DataError(f"--subjects {arguments.subjects}: between 1 and --records {arguments.records}, please")
    if not 100 <= arguments.rate <= 2000:
        raise DataError(f"--rate {arguments.rate}: between 100 and 2000 Hz, please")
    if arguments.noise > 20:
        raise DataError(f"--noise {arguments.noise}: between 0 and 20, please")
    if arguments.ejection_in_reports and not arguments.echo:
        raise DataError("--ejection-in-reports: only with --echo, which gives hearts an ejection fraction")
    _check_destination(arguments.dest, arguments.overwrite)

    destination = arguments.dest.resolve()
    destination.parent.mkdir(parents=True, exist_ok=True)
    # Written beside the destination and moved there when complete: what has the final name is whole.
    scratch = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        whole = scratch / "cohort"
        whole.mkdir()
        summary = _write_cohort(whole, arguments)
        if destination.exists():
            destination.rename(scratch / "old")
        whole.rename(destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(summary)
    return 0


def _check_destination(destination: Path, overwrite: bool) -> None:
    if not destination.exists():
        return
    if not destination.is_dir():
        raise DataError(f"{destination}: is a file; choose a folder")
    if not any(destination.iterdir()):
        return
    if not overwrite:
        raise DataError(f"{destination}: not empty; choose another folder or give --overwrite")
    readme = destination / "README.txt"
    if not readme.is_file() or not readme.read_text(encoding="utf-8", errors="replace").startswith(TITLE):
        raise DataError(f"{destination}: not a synthetic cohort, so --overwrite leaves it alone; choose another folder")
    foreign = [path for path in sorted(destination.rglob("*")) if not _is_of_cohort(path, path.relative_to(destination))]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise DataError(f"{foreign[0]}{more}: no part of a synthetic cohort, and --overwrite would delete it; move it away")


def _is_of_cohort(path: Path, relative: Path) -> bool:
    if path.is_symlink():
        return False
    if relative.parts[0] == ECHO_FOLDER:
        return is_of_echo_folder(path, relative)
    if path.is_dir():
        return relative.parts[0] == "files"
    return str(relative) in COHORT_FILES or (relative.parts[0] == "files" and path.suffix in (".hea", ".dat"))


def _write_cohort(root: Path, arguments: argparse.Namespace) -> str:
    """Write everything below ``root``; return the summary."""
    seed, rate, balanced = arguments.seed, arguments.rate, arguments.prevalence == "balanced"
    cohort = draw_cohort(seed, arguments.records, arguments.subjects)
    names = classes()
    counts: Counter = Counter()
    texts: Counter = Counter()
    tables = {
        "record_list.csv": mimic_iv_ecg_layout.RECORD_COLUMNS,
        "machine_measurements.csv": mimic_iv_ecg_layout.MEASUREMENT_COLUMNS,
        "labels.csv": ("record_id", *all_texts()),
    }
    with ExitStack() as stack:
        handles = [stack.enter_context(open(root / name, "w", encoding="utf-8", newline="")) for name in tables]
        write_events = stack.enter_context(event_writer(root / EVENTS_FILE, rate))
        records, machine, labels = (csv.writer(handle, lineterminator="\n") for handle in handles)
        for table, columns in zip((records, machine, labels), tables.values()):
            table.writerow(columns)
        echo = stack.enter_context(EchoFolder(root, seed, arguments.echo_share)) if arguments.echo else None
        known, subject = -1, None
        for i in tqdm(range(arguments.records), unit="record", desc="synthetic"):
            if subject is None or cohort.subject[i] != known:
                known = int(cohort.subject[i])
                subject = draw_subject(seed, known)
            subject_id, study_id, time = int(cohort.subject_id[i]), int(cohort.study_id[i]), cohort.time[i]
            if echo is None:
                plan = plan_record(seed, i, subject, arguments.noise, balanced)
            else:
                plan, ejection = plan_with_ejection(seed, i, known, subject, arguments.noise, balanced)
                echo.add(plan, ejection, subject_id, study_id, time)
            path = mimic_iv_ecg_layout.record_path(subject_id, study_id)
            mimic_iv_ecg_layout.write_record(root, path, subject_id, time, render(plan, rate), rate)
            statements = reports.write_report(plan)
            if arguments.ejection_in_reports:
                statements = [*statements[: reports.MAX_STATEMENTS - 1], ejection_statement(seed, i, ejection)]
            written = str(time).replace("T", " ")
            records.writerow((subject_id, study_id, study_id, written, path))
            cart = 6_000_000 + subject_id % 997
            padding = [""] * (reports.MAX_STATEMENTS - len(statements))
            machine.writerow(
                (subject_id, study_id, cart, written, *statements, *padding)
                + (*mimic_iv_ecg_layout.device_columns(plan), *mimic_iv_ecg_layout.measurements(plan).values())
            )
            labels.writerow((study_id, *label_row(plan.findings.labels)))
            write_events(str(study_id), record_events(plan, rate))
            counts.update(plan.findings.labels)
            texts[" ".join(statements).lower().replace("ekg", "ecg")] += 1
    write_json(root / "prompts.json", all_texts())
    described = "\n".join(f"{code:8} {meaning}" for code, meaning in names.items())
    about = README.format(title=TITLE, classes=described, **vars(arguments))
    if echo is not None:
        about += ECHO_README.format(share=arguments.echo_share, more=" --ejection-in-reports" * arguments.ejection_in_reports)
    (root / "README.txt").write_text(about, encoding="utf-8")
    total = arguments.records
    lines = [f"{total} records of {arguments.subjects} subjects, {len(texts)} different reports, in {arguments.dest}"]
    if echo is not None:
        lines.append(echo.summary())
    lines += [f"  {code:8} {counts[code]:7d}  {counts[code] / total:6.1%}" for code in names]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run(main))
