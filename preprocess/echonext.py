"""EchoNext (PhysioNet, Elias and Finer 2025) to a labelled manifest directory: 12 flags that echocardiography decided.

Layout, as the PhysioNet page and public code that reads it have it: ``EchoNext_metadata_100k.csv`` (1.0; small letters in 1.1)
with ``ecg_key, patient_key, age_at_ecg, sex, split``, a column per flag and, in 1.1, ``lvef_value``; and for each split a file
``EchoNext_SPLIT_waveforms.npy`` [records, 1, 2500, 12]: 10 s at 250 Hz, leads I, II, III, aVR, aVL, aVF, V1-V6, one record for
each row of that split, in the order of the table. Rows of no_split are left out: further ECGs of patients of the splits.

The published waveforms are no millivolts: baselines were removed, extremes clipped and each lead divided by its standard
deviation over the data set. --normalization undoes the division with the file that comes with EchoNext's model. Without it, a
standard deviation is taken for --mv-per-unit, and leads keep a wrong size relative to each other.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin import option_types
from cmelt_plugin.data.files import read_object
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.arrays import ArrayReader, Place
from cmelt_plugin.data.readers.contract import ALL, Reading, Recording, takes_reading
from cmelt_plugin.data.readers.numpy_files import open_npy
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess.data_sets.labelled import LabelTable, add_labelled_arguments, pack_labelled
from preprocess.data_sets.source import read_csv
from preprocess.data_sets.table_labels import labels_of_columns
from preprocess.packing.records import SOURCE_COLUMN, records_table

DATA_SET = "echonext"
METADATA = ("EchoNext_metadata_100k.csv", "echonext_metadata_100k.csv")
SPLITS = {"train": "train", "val": "valid", "test": "test"}
NO_SPLIT = "no_split"
RATE, SHAPE = 250, (1, 2500, 12)
SEX = {**dict.fromkeys(("0", "0.0", "female", "f"), "F"), **dict.fromkeys(("1", "1.0", "male", "m"), "M")}
# The standard deviation of a lead of PTB-XL, treated alike, is 0.11 (aVL) to 0.32 mV (V2), 0.18 in the mean (63 recordings).
MV_PER_UNIT = 0.18
LAYOUT = "the layout of EchoNext: EchoNext_metadata_100k.csv, EchoNext_train_waveforms.npy, ..."
EXAMPLE = """example:
  python preprocess/echonext.py --root physionet.org/files/echonext/1.1.0 --dest manifests/echonext \\
      --normalization waveform_normalization_params.json --units-per-mv 205
"""


@takes_reading
@dataclass(frozen=True)
class StandardisedReader:
    """Reads records that were standardised lead by lead, and undoes it."""

    arrays: ArrayReader
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each lead, in the units of the recorder."""
    units_per_mv: float

    def __call__(self, path: str, reading: Reading = ALL) -> Recording:
        recording = self.arrays(path, reading)
        signal = recording.signal * np.array(self.std)[:, None] + np.array(self.mean)[:, None]
        return recording._replace(signal=signal / self.units_per_mv)


def waveform_file(root: Path, split: str) -> Path:
    """The file of a split's waveforms."""
    return root / f"EchoNext_{split}_waveforms.npy"


def read_echonext(root: Path, limit: int | None = None) -> tuple[pa.Table, LabelTable, list[str]]:
    """Records and labels below ``root``, and notes about them.

    Raises:
        DataError: a file or column is missing, a split is none, or a split has not as many rows as waveforms.
    """
    path = next((root / name for name in METADATA if (root / name).is_file()), root / METADATA[0])
    flags = class_names(DATA_SET)
    columns = ["ecg_key", "patient_key", "age_at_ecg", "sex", "split", *flags]
    table = read_csv(path, columns, LAYOUT, also="lvef_value")
    odd = ~table["split"].isin([*SPLITS, NO_SPLIT])
    if odd.any():
        row = int(odd.to_numpy().argmax())
        raise DataError(
            f"{path}, row {row + 1}: split {table['split'].iloc[row]!r:.40}; known are {', '.join([*SPLITS, NO_SPLIT])}"
        )
    row_of_split = table.groupby("split").cumcount().to_numpy()
    counts = Counter(table["split"])
    for split in SPLITS:
        _check_waveforms(waveform_file(root, split), counts[split], path)
    used = table["split"].isin(SPLITS).to_numpy()
    notes = [f"{counts[NO_SPLIT]:,} records of {NO_SPLIT} are left out"]
    table, row_of_split = table[used][:limit].reset_index(drop=True), row_of_split[used][:limit]
    shared = Counter(patient for patient, _ in set(zip(table["patient_key"], table["split"])))
    several = sum(count > 1 for count in shared.values())
    if several:
        notes.append(f"{several} patients have records in more than one split")
    files = [waveform_file(root, split).name for split in table["split"]]
    records = records_table(
        record_id=table["ecg_key"],
        path=[Place(file, row=int(row)).encode() for file, row in zip(files, row_of_split)],
        subject_id=table["patient_key"],
        sex=table["sex"].str.lower().map(SEX).fillna(""),
        age=pd.to_numeric(table["age_at_ecg"], errors="coerce"),
        split=table["split"].map(SPLITS),
    )
    if "lvef_value" in table:
        lvef = pd.to_numeric(table["lvef_value"], errors="coerce").to_numpy(np.float32)
        records = records.append_column(SOURCE_COLUMN, pa.array([DATA_SET] * len(table), pa.string()))
        records = records.append_column("lvef", pa.array(np.where((lvef >= 0) & (lvef <= 100), lvef, np.float32(np.nan))))
    ids = table["ecg_key"].tolist()
    return records, LabelTable(DATA_SET, flags, ids, labels_of_columns(table, flags, ids, path)), notes


def reader_from(args: argparse.Namespace) -> tuple[Callable[[str], Recording], str]:
    """The reader of the waveforms, and a note about their unit.

    Raises:
        DataError: the file of means and deviations is not one, or comes without --units-per-mv.
    """
    if args.normalization is None:
        if args.units_per_mv is not None:
            raise DataError("--units-per-mv: goes with --normalization")
        note = f"waveforms are standard deviations of their lead, taken for {args.mv_per_unit:g} mV each"
        return ArrayReader(LEADS, "mV", 1 / args.mv_per_unit, RATE), note
    if args.units_per_mv is None:
        raise DataError(
            "--normalization: give --units-per-mv, how many of the recorder's units are a millivolt (200 = 5 uV steps)"
        )
    values = read_object(args.normalization, checked=False)
    lists: dict[str, tuple[float, ...]] = {}
    for name in ("mean", "std"):
        numbers = np.array(values.get(name), dtype=object).reshape(-1)
        if len(numbers) != len(LEADS) or not all(isinstance(number, (int, float)) for number in numbers):
            raise DataError(f"{args.normalization}: {name} must be a list of 12 numbers, one a lead")
        lists[name] = tuple(map(float, numbers))
    if not all(0 < number < float("inf") for number in lists["std"]):
        raise DataError(f"{args.normalization}: std must be above 0 for every lead")
    reader = StandardisedReader(ArrayReader(LEADS, "mV", rate=RATE), lists["mean"], lists["std"], args.units_per_mv)
    return reader, f"waveforms: times the std of their lead, plus its mean, {args.units_per_mv:g} units a millivolt"


def _check_waveforms(path: Path, rows: int, table: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected {LAYOUT}")
    try:
        shape = open_npy(str(path)).shape
    except Exception as error:
        raise DataError(f"{path}: unreadable ({error}); copy it again") from None
    if tuple(shape[1:]) != SHAPE or shape[0] != rows:
        raise DataError(
            f"{path}: shape {tuple(shape)}, but {table.name} lists {rows} records of shape {SHAPE}; copy both again"
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_labelled_arguments(parser, splits=False)
    parser.add_argument("--normalization", type=Path, metavar="JSON", help="mean and std of each lead, 12 numbers each")
    parser.add_argument("--units-per-mv", type=option_types.positive_number, help="units of --normalization in a millivolt")
    parser.add_argument(
        "--mv-per-unit",
        type=option_types.positive_number,
        default=MV_PER_UNIT,
        help="without --normalization: millivolts that stand for a standard deviation (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    reader, note = reader_from(args)
    records, labels, notes = read_echonext(args.root, args.limit)
    common: dict[str, Any] = {"data_set": DATA_SET, "command": "preprocess/echonext.py", "notes": [note, *notes]}
    print("\n".join([note, *notes]), file=sys.stderr)
    return pack_labelled(records, labels, args, reader=reader, **common)


if __name__ == "__main__":
    sys.exit(run(main))
