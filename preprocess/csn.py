"""CSN (Chapman, Shaoxing and Ningbo: PhysioNet's ecg-arrhythmia 1.0.0) to a labelled manifest directory.

--root holds the records JS00001 to JS45551, in the data set's own folders (WFDBRecords/01/010/JS00001.hea and .mat) or
in any others, such as those of the PhysioNet/CinC Challenge 2021. There are 38 classes; AF is atrial flutter, AFIB
fibrillation.

With --splits, records, splits and labels are those of published files chapman_train.csv, chapman_val.csv and
chapman_test.csv (16,546, 1,860 and 4,620 records). --labels shipped takes their class columns, as papers do; --labels
exact reads the column diagnose instead, because seven of the columns also count other classes (AF counts AFIB, ST counts
STE). Exact labels leave VB without positives in valid and test. Both counts are printed.

Without --splits, all records get labels from the SNOMED CT codes in their headers, and are divided 70/10/20 by a hash.
Every recording is of another patient.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmelt_plugin.data.readers.challenge_files import Patient, read_header_patient
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess.data_sets import snomed
from preprocess.data_sets.challenge_records import find_records, patient_records
from preprocess.data_sets.csn_labels import (
    CONDITIONS_FILE,
    exact_labels,
    print_shipped_and_exact,
    read_conditions,
)
from preprocess.data_sets.labelled import LabelTable, add_labelled_arguments, pack_labelled
from preprocess.data_sets.published_splits import PublishedSplits, print_label_differences, read_published_splits
from preprocess.data_sets.snomed import code_labels
from preprocess.packing.flat_leads import note_flat_leads
from preprocess.packing.records import Texts

LABEL_SET = "csn"
LAYOUT = "WFDBRecords/01/010/JS00001.hea, JS00001.mat, ..."
RECORD = r"JS\d{5}"
OWN_SHARES = (0.7, 0.1, 0.2)
SHOWN = 10

EXAMPLE = """example:
  python preprocess/csn.py --root /data/ecg-arrhythmia-1.0.0 --splits /data/splits/chapman --labels exact \\
      --dest manifests/csn-exact --jobs 8
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_labelled_arguments(parser)
    parser.set_defaults(split=OWN_SHARES)
    parser.add_argument("--splits", type=Path, help="folder of chapman_train.csv, chapman_val.csv and chapman_test.csv")
    parser.add_argument(
        "--labels", choices=("shipped", "exact"), help="published columns, or the text they were made from (default shipped)"
    )
    parser.add_argument(
        "--conditions",
        type=Path,
        help=f"table of SNOMED CT codes (default: {CONDITIONS_FILE} below --root; where it is missing, our own copy of it)",
    )
    args = parser.parse_args(argv)
    if args.splits is None and args.labels == "shipped":
        raise DataError("--labels shipped: these are columns of the published split files; give their folder as --splits")

    names = class_names(LABEL_SET)
    # A record may lack its header or its signals; both are the packing's matter, which lists it.
    recordings = sorted({*find_records(args.root, RECORD, ".hea"), *find_records(args.root, RECORD, ".mat")})
    if not recordings:
        raise DataError(f"{args.root}: no recordings; expected {LAYOUT}")
    published, split = None, None
    if args.splits is not None:
        published = read_published_splits(args.splits, "chapman", "ecg_path", names, also=["diagnose"])
        listed = locate(published.table["ecg_path"], recordings)
        print(f"{len({name for name, _ in recordings} - {name for name, _ in listed})} recordings are in no split file")
        listed, split = listed[: args.limit], published.table["split"].tolist()[: args.limit]
    else:
        listed = recordings[: args.limit]
    ids, paths = [name for name, _ in listed], [path for _, path in listed]
    patients = [read_header_patient(args.root / path) for path in tqdm(paths, unit="record", desc="headers")]
    coded, note = _header_labels(args, patients, names)
    if published is None:
        labels, notes = coded, [note]
    else:
        labels, notes = _published_labels(published, args, names, coded)
    records = patient_records(listed, patients, split)
    code = pack_labelled(
        records,
        LabelTable(LABEL_SET, names, ids, labels),
        args,
        data_set="csn",
        command="preprocess/csn.py",
        notes=[*notes, "subjects: every recording is of another patient"],
    )
    note_flat_leads(args.dest)
    return code


def locate(published: Texts, recordings: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Where the records of the split files are.

    Args:
        published: their paths in the files, such as ``/chapman/WFDBRecords/18/186/JS18048.mat``.
        found: (name, path below the root without suffix) of every recording there is.

    Returns:
        (name, path) of each: the path that ends as the published one from ``WFDBRecords`` on, or else that of a
        record with this name. A record that is not there keeps the published path, to be reported as missing.

    Raises:
        DataError: a published path does not end in a record's name, or two in the same.
    """
    paths = {path for _, path in recordings}
    by_name = dict(reversed(recordings))
    located = {}
    for text in published:
        match = re.search(rf"(?:.*?(WFDBRecords/.*?))?({RECORD})(?:\.mat|\.hea)?$", text)
        if match is None:
            raise DataError(f"split files: ecg_path {text!r} does not end in the name of a record such as JS18048.mat")
        name, own = match[2], f"{match[1] or ''}{match[2]}"
        if name in located:
            raise DataError(f"split files: {name} occurs more than once")
        located[name] = own if own in paths else by_name.get(name, own)
    return list(located.items())


def _header_labels(args: argparse.Namespace, patients: Sequence[Patient], names: Sequence[str]) -> tuple[np.ndarray, str]:
    """Labels from the headers' codes, float32 [n, C], and a note on them."""
    path = args.conditions or args.root / CONDITIONS_FILE
    own = args.conditions is None and not path.is_file()
    class_of = snomed.CSN if own else read_conditions(path, names)
    labels, others = code_labels([patient.codes for patient in patients], names, class_of)
    if args.splits is None:
        print(f"{int(np.isnan(labels).all(axis=1).sum())} of {len(labels)} recordings have no diagnosis in their header")
        print(f"{len(others)} SNOMED CT codes are none of the {len(names)} classes" + (":" if others else ""))
        for code, count in others.most_common(SHOWN):
            print(f"  {code}: in {count} headers")
    return labels, f"labels: diagnoses in the headers, codes as in {'snomed.py' if own else path.name}"


def _published_labels(
    published: PublishedSplits, args: argparse.Namespace, names: Sequence[str], coded: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Labels of the split files as ``--labels`` wants them, float32 [n, C], and notes on them."""
    table, shipped = published.table[: args.limit], published.labels[: args.limit]
    exact = exact_labels(table["diagnose"], names)
    chosen = args.labels or "shipped"
    print_shipped_and_exact(names, shipped, exact, table["split"], chosen)
    if not np.isnan(coded).all():
        print_label_differences(names, coded, exact, "headers and exact labels")
    origin = {"shipped": "their class columns", "exact": "exact matches in their column diagnose"}[chosen]
    return (
        exact if chosen == "exact" else shipped,
        ["records and splits: the published files chapman_{train,val,test}.csv", f"labels ({chosen}): {origin}"],
    )


if __name__ == "__main__":
    sys.exit(run(main))
