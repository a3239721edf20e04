"""CPSC2018 (China Physiological Signal Challenge 2018, first part) to a labelled manifest directory.

--root holds either the original distribution (A0001.mat to A6877.mat, in TrainingSet1 to 3 or together, with
REFERENCE.csv) or the copy in PhysioNet's challenges (A0001.hea and .mat, diagnoses in the headers). Labels are the nine
classes, up to three of them per recording. Recordings last 6 to 60 s: the first 10 s are kept, shorter ones padded and
marked so.

With --splits, records, splits and labels are those of published files icbeb_train.csv, icbeb_val.csv and icbeb_test.csv
(4,950, 551 and 1,376 records), and labels at hand below --root are compared with them. Without, labels are those below
--root, and records are divided 70/10/20 by a hash. The data set does not tell which recordings are of one patient.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from cmelt_plugin.data.readers.challenge_files import (
    Patient,
    read_cpsc_mat,
    read_cpsc_mat_5s,
    read_cpsc_patient,
    read_header_patient,
    read_wfdb_5s,
)
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess.data_sets import snomed
from preprocess.data_sets.challenge_records import find_records, patient_records
from preprocess.data_sets.labelled import LabelTable, add_labelled_arguments, pack_labelled
from preprocess.data_sets.published_splits import print_label_differences, read_published_splits
from preprocess.data_sets.snomed import code_labels
from preprocess.data_sets.source import read_csv
from preprocess.packing.flat_leads import note_flat_leads

LABEL_SET = "cpsc2018"
LAYOUT = "CPSC2018: A0001.mat, ... with REFERENCE.csv, or A0001.hea, A0001.mat, ..."
RECORD = r"A\d{4}"
REFERENCE = "REFERENCE.csv"
REFERENCE_COLUMNS = ("First_label", "Second_label", "Third_label")
NUMBERED = dict(zip("123456789", ("NORM", "AFIB", "1AVB", "CLBBB", "CRBBB", "PAC", "VPC", "STD", "STE")))
OWN_SHARES = (0.7, 0.1, 0.2)

EXAMPLE = """example:
  python preprocess/cpsc2018.py --root /data/cpsc2018 --splits /data/splits/icbeb --dest manifests/cpsc2018 --jobs 8
"""


class Copy(NamedTuple):
    """Which copy of the data set a folder holds, and how its files are read."""

    records: Sequence[tuple[str, str]]
    """(name, path below the root without suffix) of every recording."""
    reader: Callable[[str], Recording]
    reader_5s: Callable[[str], Recording]
    patient: Callable[[Path], Patient]
    source: str
    """Where its labels are."""


def find_copy(root: Path) -> Copy:
    """Find the recordings below ``root``: with headers it is the challenges' copy, without the original one.

    Raises:
        DataError: there is none, or both copies are.
    """
    headers, files = find_records(root, RECORD, ".hea"), find_records(root, RECORD, ".mat")
    if not files and not headers:
        raise DataError(f"{root}: no recordings; expected {LAYOUT}")
    if not headers:
        return Copy(files, read_cpsc_mat, read_cpsc_mat_5s, read_cpsc_patient, REFERENCE)
    bare = sorted(set(files) - set(headers))
    both = {name for name, _ in bare} & {name for name, _ in headers}
    if both:
        raise DataError(f"{root}: {min(both)} is there with and without .hea; give the folder of one copy as --root")
    # A header that is missing is the packing's matter, which lists the record.
    return Copy(sorted([*headers, *bare]), read_wfdb, read_wfdb_5s, read_header_patient, "headers")


def read_reference(root: Path, names: Sequence[str]) -> tuple[list[str], np.ndarray] | None:
    """Records and labels (float32 [n, C]) of every REFERENCE.csv below ``root``; None when there is none.

    A row without any label says nothing about its recording.

    Raises:
        DataError: a column is missing, a label is not 1 to 9 or empty, or two rows of one record differ.
    """
    classes_of_record: dict[str, list[float]] = {}
    for path in sorted(root.rglob(REFERENCE)):
        table = read_csv(path, ["Recording", *REFERENCE_COLUMNS], f"columns Recording, {', '.join(REFERENCE_COLUMNS)}")
        for record, *cells in table.itertuples(index=False):
            numbers = [cell[:-2] if cell.endswith(".0") else cell for cell in cells]
            wrong = [cell for cell in numbers if cell not in NUMBERED and cell.lower() not in ("", "nan")]
            if wrong:
                raise DataError(f"{path}, {record}: label {wrong[0]!r} is not a number from 1 to 9 or empty")
            classes = {NUMBERED[cell] for cell in numbers if cell in NUMBERED}
            row = [float(name in classes) for name in names]
            if classes and classes_of_record.setdefault(record, row) != row:
                raise DataError(f"{path}: {record} occurs twice with different labels")
    return (
        (list(classes_of_record), np.array(list(classes_of_record.values()), dtype=np.float32)) if classes_of_record else None
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_labelled_arguments(parser)
    parser.set_defaults(split=OWN_SHARES)
    parser.add_argument("--splits", type=Path, help="folder of icbeb_train.csv, icbeb_val.csv and icbeb_test.csv")
    parser.add_argument(
        "--legacy-5s", action="store_true", help="the first 5 s only, as the released code of MERL and MELP evaluates"
    )
    args = parser.parse_args(argv)

    names = class_names(LABEL_SET)
    copy = find_copy(args.root)
    if args.splits is None:
        listed, split = copy.records[: args.limit], None
    else:
        published = read_published_splits(args.splits, "icbeb", "filename", names)
        paths = dict(reversed(copy.records))
        listed = [(record, paths.get(record, record)) for record in published.table["filename"][: args.limit]]
        split = published.table["split"].tolist()[: args.limit]
        print(f"{len(paths.keys() - set(published.table['filename']))} recordings are in no split file and left out")
    ids = [record for record, _ in listed]
    patients = [copy.patient(args.root / path) for _, path in tqdm(listed, unit="record", desc="patients")]

    at_hand = labels_at_hand(args.root, copy, ids, patients, names)
    if args.splits is None:
        if at_hand is None:
            raise DataError(f"{args.root}: no {REFERENCE} and no diagnoses in headers; give the labels with --splits")
        labels, notes = at_hand, [f"labels: {copy.source}"]
        print(f"{int(np.isnan(labels).all(axis=1).sum())} of {len(ids)} recordings have no label")
    else:
        labels, notes = published.labels[: args.limit], ["records, splits, labels: published icbeb_{train,val,test}.csv"]
        if at_hand is not None:
            print_label_differences(names, at_hand, labels, f"{copy.source} and the split files")
    notes.append("subjects: unknown, every recording counts as one")
    if args.legacy_5s:
        notes.append("only the first 5 s of every recording (--legacy-5s)")
    records = patient_records(listed, patients, split)
    code = pack_labelled(
        records,
        LabelTable(LABEL_SET, names, ids, labels),
        args,
        data_set="cpsc2018-5s" if args.legacy_5s else "cpsc2018",  # --store must not mix the two
        command="preprocess/cpsc2018.py",
        notes=notes,
        reader=copy.reader_5s if args.legacy_5s else copy.reader,
    )
    note_flat_leads(args.dest)
    return code


def labels_at_hand(
    root: Path, copy: Copy, ids: Sequence[str], patients: Sequence[Patient], names: Sequence[str]
) -> np.ndarray | None:
    """Labels of ``ids`` from REFERENCE.csv or the headers, float32 [n, C], NaN = unknown; None where there are none."""
    if copy.source == REFERENCE:
        reference = read_reference(root, names)
        if reference is None:
            return None
        position = pd.Index(reference[0]).get_indexer(pd.Index(list(ids)))
        return np.where(position[:, None] >= 0, reference[1][position], np.float32(np.nan))
    labels, others = code_labels([patient.codes for patient in patients], names, snomed.CPSC2018)
    for code, count in sorted(others.items()):
        print(f"SNOMED CT code {code}, in {count} headers, is none of the nine classes")
    return None if np.isnan(labels).all() else labels


if __name__ == "__main__":
    sys.exit(run(main))
