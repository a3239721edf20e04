"""MIMIC-IV-ECG 1.0 (PhysioNet) to a manifest directory: all records with their machine reports, split by subject.

``record_list.csv`` lists the records, ``machine_measurements.csv`` holds up to 18 lines of report text per study, each of
them a statement; both are joined on study_id, which becomes the record id. The headers list aVF before aVL; leads are
ordered by name. The ECG module knows neither sex nor age.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from preprocess.data_sets.source import read_csv
from preprocess.packing.pack import add_arguments, options_from, pack
from preprocess.packing.records import records_table

LAYOUT = "the layout of MIMIC-IV-ECG 1.0: record_list.csv, machine_measurements.csv, files/p1000/p10000032/..."

EXAMPLE = """example:
  python preprocess/mimic_iv_ecg.py --root physionet.org/files/mimic-iv-ecg/1.0 --dest manifests/mimic-iv-ecg --jobs 16
"""


def read_records(root: Path, limit: int | None = None) -> pa.Table:
    """Table of the records below ``root``.

    Raises:
        DataError: a CSV file or a column is missing.
    """
    listed = read_csv(root / "record_list.csv", ["subject_id", "study_id", "ecg_time", "path"], LAYOUT)[:limit]
    measured = read_csv(root / "machine_measurements.csv", ["study_id", "report_0"], LAYOUT, also=r"report_\d+")
    columns = sorted((name for name in measured.columns if re.fullmatch(r"report_\d+", name)), key=lambda name: int(name[7:]))
    statements = [tuple(filter(None, parts)) for parts in zip(*(measured[name] for name in columns))]
    lines = dict(zip(measured["study_id"][::-1], statements[::-1]))  # of studies listed twice, the first
    return records_table(
        record_id=listed["study_id"],
        path=listed["path"],
        subject_id=listed["subject_id"],
        report=[lines.get(study, ()) for study in listed["study_id"]],
        time=listed["ecg_time"].str.replace(" ", "T"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args(argv)
    return pack(
        read_records(args.root, args.limit),
        args.root,
        args.dest,
        options_from(args),
        data_set="mimic-iv-ecg",
        command="preprocess/mimic_iv_ecg.py",
    )


if __name__ == "__main__":
    sys.exit(run(main))
