"""PhysioNet/CinC Challenge 2021 to a manifest directory: diagnoses (``--task dx``) or identification (``--task id``).

``--root`` is the training folder with its sources in any nesting, or a flat folder of records; a record's source is the
folder it lies in, else follows from its name. Recordings last from 5 s to half an hour. They are cut into segments that
follow one another; what remains after the last whole segment is left out, and a recording shorter than one segment is
kept whole. A record is called by recording and segment: ``A0001#2``.

The protocol is that of Oh et al. 2022 (Lead-agnostic self-supervised learning, CHIL 2022), which the paper follows, as
far as it can be known from their published preparation scripts (fairseq-signals) and the sizes in the paper's Table 9:

- Segments of 5 s. A segment has all diagnoses of its recording; those without a scored one stay, as all-negative.
- Dx: sources cpsc_2018 and georgia, 80/10/10. Table 9's 32,640/4,079/4,079 are 80/10/10 of 40,798 segments, with both
  10 % rounded down in each source. Those splits shuffle *segments*, so that pieces of a recording are in all three; which
  ones cannot be reproduced, as the files were taken in the order of a disk. Here a recording is in one split
  (``--split-by segment`` divides segments, for comparison with such results).
- Id, test: PTB-XL's subjects with two or more recordings, one segment of each of two recordings; 2,127 in PTB-XL 1.0.1.
  Here the two earliest recordings, the earlier one as gallery. CinC's headers name no subjects: ``--ptb-xl-database`` gives
  PTB-XL's table, in which record HR00017 has ecg_id 17. Without it there is no test split and PTB-XL is left out.
- Id, train: the six sources at 500 Hz, every recording an identity, PTB-XL's included. Table 9's 147,444/17,670 fit
  80 % of all segments and two segments each of 10 % of the 87,663 recordings; the remaining 10 % are used nowhere.
  This is inferred from the numbers, not stated anywhere. The same shares are the default (``--split 0.9 0.1 0`` uses all).
  Here the subjects of the test set are not in training, and PTB-XL's identities are its patients.

INCART (257 Hz, half an hour) and PTB (1000 Hz) are not in the protocol; ``--sources`` adds them, each recording a subject
of its own, because CinC does not say which recordings belong to one subject.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.errors import DataError
from preprocess.data_sets.identification import Patient, choose_pairs, divide_subjects, read_ptb_xl_patients
from preprocess.data_sets.labelled import LabelTable, add_labelled_arguments, pack_labelled
from preprocess.data_sets.physionet2021_labels import LABEL_SET, NAMES, label_row
from preprocess.data_sets.physionet2021_records import (
    OLDEST,
    OTHER,
    PTB_XL,
    SOURCES,
    Header,
    Segment,
    find_records,
    read_header,
    read_segment,
    segments_of,
    source_of,
)
from preprocess.packing.implausible import read_list
from preprocess.packing.pack import add_split_arguments, options_from, pack
from preprocess.packing.recording import REJECT, SignalOptions, to_row
from preprocess.packing.records import records_table
from preprocess.packing.reuse import reuse_store
from preprocess.packing.splits import split_of

DATA_SET = "physionet2021"
SOURCES_OF_TASK = {
    "dx": ("cpsc_2018", "georgia"),
    "id": tuple(source for source in SOURCES if source not in ("st_petersburg_incart", "ptb")),
}
SHARES = (0.8, 0.1, 0.1)

_OVERLAP = {
    PTB_XL: "are PTB-XL's: do not evaluate a model on them that has seen PTB-XL",
    "cpsc_2018": "are those of the evaluation set CPSC2018",
    "chapman_shaoxing": "are in part those of the evaluation set CSN",
    "ningbo": "are in part those of the evaluation set CSN",
}

EXAMPLE = """examples:
  python preprocess/physionet2021.py --task dx --root challenge-2021/1.0.3/training --dest manifests/cinc2021-dx
  python preprocess/physionet2021.py --task id --root challenge-2021/1.0.3/training --dest manifests/cinc2021-id \\
      --ptb-xl-database ptb-xl/1.0.3/ptbxl_database.csv
"""


def dx_records(
    segments: Sequence[Segment], patients: dict[int, Patient], by_segment: bool, seed: int, shares: Sequence[float]
) -> tuple[pa.Table, LabelTable]:
    """Table and labels of the diagnosis task.

    Args:
        segments: all segments.
        patients: PTB-XL's patients by ecg_id, or {}.
        by_segment: divide segments instead of subjects.
        seed, shares: of that division.
    """
    split = [split_of(segment.record_id, seed, shares) if by_segment else "" for segment in segments]
    rows = {header: label_row(header.codes) for header in {segment.header for segment in segments}}
    values = np.stack([rows[segment.header] for segment in segments])
    labels = LabelTable(LABEL_SET, list(NAMES), [segment.record_id for segment in segments], values)
    return _table(segments, split, patients), labels


def id_records(
    segments: Sequence[Segment],
    patients: dict[int, Patient],
    usable: set[str] | SignalOptions,
    root: Path,
    seed: int,
    shares: Sequence[float],
) -> tuple[pa.Table, list[str]]:
    """Table of the identification task, pairs of validation and test in the order gallery, probe; and notes about it.

    Segments that were tried for a pair and cannot be packed are in the table too, so that they are listed as rejected.

    Args:
        segments: all segments.
        patients: PTB-XL's patients by ecg_id, or {}: PTB-XL is left out.
        usable: record ids that can be used, or what a recording must fulfil.
        root: folder of the recordings.
        seed, shares: division of the subjects who are not in the test set into train, valid and unused.
    """
    subjects: dict[str, dict[str, list[Segment]]] = {}  # subject → recording → segments
    unknown = set()
    for segment in segments:
        if segment.header.source == PTB_XL and _ecg_id(segment.header) not in patients:
            unknown.add(segment.header.name)
            continue
        recordings = subjects.setdefault(_subject(segment.header, patients), {})
        recordings.setdefault(segment.header.name, []).append(segment)

    tested = {subject: recordings for subject, recordings in subjects.items() if _is_ptb_xl(recordings) and len(recordings) > 1}
    divided = divide_subjects([subject for subject in subjects if subject not in tested], seed, shares)
    test_candidates = {subject: _by_time(recordings, patients) for subject, recordings in tested.items()}
    valid_candidates = {subject: [[s] for part in subjects[subject].values() for s in part] for subject in divided["valid"]}
    with tqdm(unit="segment", desc="choosing pairs") as bar:

        def is_usable(segment: Segment) -> bool:
            bar.update()
            return segment.record_id in usable if isinstance(usable, set) else _can_be_packed(segment, root, usable)

        pairs = {"valid": choose_pairs(valid_candidates, is_usable), "test": choose_pairs(test_candidates, is_usable)}

    chosen = [(s, "train") for subject in divided["train"] for part in subjects[subject].values() for s in part]
    for split, pairs_of_split in pairs.items():
        for subject in {**pairs_of_split.chosen, **pairs_of_split.unusable}:
            chosen += [(s, split) for s in (*pairs_of_split.unusable.get(subject, ()), *pairs_of_split.chosen.get(subject, ()))]
    notes = [
        f"identities: {len(divided['train'])} train, {len(pairs['valid'].chosen)} valid, {len(pairs['test'].chosen)} test "
        f"(2,127 in the paper), {len(divided['test'])} unused (third share of --split)",
        "valid: two segments of one recording; test: one segment of each of a PTB-XL patient's two earliest recordings",
    ]
    for split, pairs_of_split in pairs.items():
        if pairs_of_split.alone:
            notes.append(f"{split}: {len(pairs_of_split.alone)} people without two usable segments left out")
    if unknown:
        reason = "not in --ptb-xl-database" if patients else "without --ptb-xl-database their people are not known"
        notes.append(f"{len(unknown)} recordings of PTB-XL left out: {reason}")
    return _table([s for s, _ in chosen], [split for _, split in chosen], patients), notes


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    seconds = args.segment_seconds
    chosen = SOURCES_OF_TASK[args.task] if args.sources is None else args.sources
    patients = read_ptb_xl_patients(args.ptb_xl_database) if args.ptb_xl_database is not None else {}
    paths = find_records(args.root)
    counts = Counter(source_of(path) for path in paths)
    paths = [path for path in paths if "all" in chosen or source_of(path) in chosen][: args.limit]
    for source in sorted(counts):
        used = sum(source_of(path) == source for path in paths)
        print(f"{source}: {used} of {counts[source]} recordings used")
    if not paths:
        raise DataError(f"{args.root}: no recordings of {', '.join(chosen)}; choose others with --sources, or all")
    headers = [read_header(args.root, path) for path in tqdm(paths, unit="header", desc="headers")]
    _check_patients(headers, patients, args.ptb_xl_database)
    segments = [segment for header in headers for segment in segments_of(header, seconds)]
    notes = [_segment_note(seconds), *_notes(headers, segments, seconds)]
    options = options_from(args)
    if args.store is not None:
        _check_store(args.store, seconds)
    common: dict[str, Any] = {"data_set": DATA_SET, "command": f"preprocess/physionet2021.py --task {args.task}"}
    if args.task == "dx":
        if args.split_by == "segment":
            notes.append("splits by segment: pieces of one recording are in train, valid and test, which flatters all figures")
        _print(notes)
        records, labels = dx_records(segments, patients, args.split_by == "segment", args.seed, options.fractions)
        return pack_labelled(records, labels, args, notes=notes, reader=read_segment, **common)
    usable = options.signal if args.store is None else _ids_of(args.store, options.signal)
    records, more = id_records(segments, patients, usable, args.root, args.seed, options.fractions)
    notes += more
    _print(notes)
    if args.store is not None:
        reuse_store(records, args.store, args.dest, options, notes=notes, **common)
        return 0
    return pack(records, args.root, args.dest, options, notes=notes, reader=read_segment, **common)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=tuple(SOURCES_OF_TASK), required=True, help="diagnoses or identification")
    add_labelled_arguments(parser, splits=False)
    parser.add_argument("--segment-seconds", type=int, choices=(5, 10), default=5, help="length of a segment (default 5)")
    parser.add_argument(
        "--sources",
        nargs="+",
        choices=(*SOURCES, OTHER, "all"),
        help="default dx: cpsc_2018 georgia; id: all but st_petersburg_incart and ptb",
    )
    parser.add_argument("--ptb-xl-database", type=Path, help="ptbxl_database.csv of PTB-XL: which of its subjects is which")
    parser.add_argument(
        "--split-by", choices=("subject", "segment"), default="subject", help="dx: what is divided (default subject)"
    )
    shares = "shares (default 0.8 0.1 0.1); id: the third is left unused, the test set being PTB-XL's subjects"
    add_split_arguments(parser, SHARES, "split", shares)
    return parser


def _can_be_packed(segment: Segment, root: Path, options: SignalOptions) -> bool:
    try:
        to_row(read_segment(os.path.join(root, segment.path), options.reading), options)
    except Rejected:
        return False
    return True


def _table(segments: Sequence[Segment], split: Sequence[str], patients: dict[int, Patient]) -> pa.Table:
    headers = [segment.header for segment in segments]
    known = [patients.get(_ecg_id(header)) if header.source == PTB_XL else None for header in headers]
    return records_table(
        record_id=[segment.record_id for segment in segments],
        path=[segment.path for segment in segments],
        subject_id=[_subject(header, patients) for header in headers],
        sex=[header.sex for header in headers],
        age=[header.age for header in headers],
        time=[patient.time if patient else "" for patient in known],
        split=split,
        source=[header.source for header in headers],
    )


def _subject(header: Header, patients: dict[int, Patient]) -> str:
    patient = patients.get(_ecg_id(header)) if header.source == PTB_XL else None
    return f"ptb-xl-{patient.patient_id}" if patient else header.name


def _ecg_id(header: Header) -> int:
    digits = re.sub(r"\D", "", header.name)
    return int(digits) if digits else -1


def _is_ptb_xl(recordings: dict[str, list[Segment]]) -> bool:
    return next(iter(recordings.values()))[0].header.source == PTB_XL


def _by_time(recordings: dict[str, list[Segment]], patients: dict[int, Patient]) -> list[list[Segment]]:
    def when(part: list[Segment]) -> tuple[str, int]:
        number = _ecg_id(part[0].header)
        return patients[number].time, number

    return sorted(recordings.values(), key=when)


def _check_patients(headers: Sequence[Header], patients: dict[int, Patient], path: Path | None) -> None:
    """Refuse a table of other recordings: ages must agree."""
    pairs = [(h.age, min(patients[_ecg_id(h)].age, OLDEST)) for h in headers if h.source == PTB_XL and _ecg_id(h) in patients]
    ages = np.array([pair for pair in pairs if np.isfinite(pair).all()]).reshape(-1, 2)
    agree = np.abs(ages[:, 0] - ages[:, 1]) <= 1
    if len(ages) and agree.mean() < 0.9:
        raise DataError(
            f"{path}: of {len(ages)} recordings of PTB-XL only {int(agree.sum())} have the age their header says; "
            "is this the table of the recordings below --root?"
        )


def _segment_note(seconds: int) -> str:
    return f"segments of {seconds} s"


def _check_store(store: Path, seconds: int) -> None:
    notes = read_json(store / "manifest.json").get("notes", []) if (store / "manifest.json").is_file() else None
    if notes is not None and _segment_note(seconds) not in notes:
        raise DataError(f"{store}: not packed in {_segment_note(seconds)}; give its --segment-seconds, or pack anew")


def _ids_of(store: Path, options: SignalOptions) -> set[str]:
    splits = [Manifest.open(store, split).meta(["record_id"])["record_id"].to_pylist() for split in available_splits(store)]
    refused = (read_list(store) or {}) if options.implausible == REJECT else {}
    return {record for records in splits for record in records} - set(refused)


def _notes(headers: Sequence[Header], segments: Sequence[Segment], seconds: int) -> list[str]:
    whole = Counter(segment.header for segment in segments)
    tails = [h.samples / h.rate - n * seconds for h, n in whole.items() if h.rate and h.samples >= round(seconds * h.rate)]
    notes = [
        f"{len(segments)} segments of {len(headers)} recordings; {sum(tails):.0f} s after last whole segments left out",
        "sources: " + ", ".join(f"{source} {n}" for source, n in sorted(Counter(h.source for h in headers).items())),
    ]
    counts = Counter(header.source for header in headers)
    return notes + [f"{counts[source]} recordings ({source}) {what}" for source, what in _OVERLAP.items() if counts[source]]


def _print(notes: Sequence[str]) -> None:
    for note in notes:
        print(note)


if __name__ == "__main__":
    sys.exit(run(main))
