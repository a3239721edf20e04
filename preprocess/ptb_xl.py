"""PTB-XL 1.0.3 (PhysioNet) to a manifest directory.

``--pretrain`` takes every record with its report; the data set's folds 1-8, 9 and 10, which keep patients together,
are train, valid and test. The column ``report`` mixes German, English and Swedish. Ages above 89 years, which the data
set hides as 300, become 90: "90 or older" keeps its place in an age order and in a mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from cmelt_plugin.errors import DataError
from preprocess import cli
from preprocess.packing import add_arguments, options_from, pack
from preprocess.source import read_csv, records_table

LAYOUT = "the layout of PTB-XL 1.0.3: ptbxl_database.csv, records500/, records100/"
DATABASE = "ptbxl_database.csv"
PATH_COLUMN = {500: "filename_hr", 100: "filename_lr"}
SPLIT_OF_FOLD = {**{str(fold): "train" for fold in range(1, 9)}, "9": "valid", "10": "test"}
SEX = {"0": "M", "1": "F"}  # PTB-XL's documentation: 0 = male, 1 = female
OLDEST = 90.0  # years

EXAMPLE = """example:
  python preprocess/ptb_xl.py --pretrain --root physionet.org/files/ptb-xl/1.0.3 --dest manifests/ptb-xl --jobs 8
"""


def read_records(root: Path, rate: int = 500, limit: int | None = None) -> pa.Table:
    """Table of the records below ``root``, from the 500 Hz or the 100 Hz files.

    Raises:
        DataError: the database or a column is missing, or a fold is not 1 to 10.
    """
    path = root / DATABASE
    columns = ["ecg_id", "patient_id", "age", "sex", "recording_date", "report", "strat_fold", PATH_COLUMN[rate]]
    table = read_csv(path, columns, LAYOUT)[:limit]
    split = table["strat_fold"].map(SPLIT_OF_FOLD)
    if split.isna().any():
        row = int(split.isna().to_numpy().argmax())
        raise DataError(
            f"{path}: ecg_id {table['ecg_id'].iloc[row]} has strat_fold {table['strat_fold'].iloc[row]!r}, not 1 to 10"
        )
    age = pd.to_numeric(table["age"], errors="coerce").astype("float32")
    return records_table(
        record_id=table["ecg_id"],
        path=table[PATH_COLUMN[rate]],
        subject_id=table["patient_id"].str.replace(r"\.0$", "", regex=True),
        report=table["report"],
        sex=table["sex"].map(SEX).fillna(""),
        age=age.clip(upper=OLDEST),
        time=table["recording_date"].str.replace(" ", "T"),
        split=split,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrain", action="store_true", help="every record with its report, for pre-training")
    parser.add_argument("--rate", type=int, choices=sorted(PATH_COLUMN), default=500, help="which files to read, in Hz")
    add_arguments(parser, splits=False)
    args = parser.parse_args(argv)
    if not args.pretrain:
        parser.error("choose what to make: --pretrain")
    notes = ["splits: strat_fold 1-8 train, 9 valid, 10 test", "ages above 89 years are stored as 90"]
    if args.rate != 500:
        notes.append(f"resampled from {args.rate} Hz to 500 Hz")
    return pack(
        read_records(args.root, args.rate, args.limit),
        args.root,
        args.dest,
        options_from(args),
        data_set="ptb-xl",
        command="preprocess/ptb_xl.py --pretrain",
        notes=notes,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
