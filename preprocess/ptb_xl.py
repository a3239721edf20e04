"""PTB-XL 1.0.3 (PhysioNet) to a manifest directory, for pre-training or with the labels of one task.

``--pretrain`` takes every record with its report. ``--task`` takes the records that have a label of the task, with
their labels and, where there are any, reports; every statement counts, whatever its likelihood, as in the benchmark of
the data set. With version 1.0.3 train, valid and test have 17,084, 2,146 and 2,158 records for super and sub, 7,197,
901 and 880 for form, 16,832, 2,100 and 2,098 for rhythm. Older versions hold up to 38 more records, some of them doublets.

Folds 1-8, 9 and 10, which keep patients together, are train, valid and test, unless ``--folds`` says otherwise. The column
``report`` mixes German, English and Swedish. Ages above 89 years, which the data set hides as 300, become 90: "90 or older"
keeps its place in an age order and in a mean.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess.data_sets.labelled import LabelTable, add_labelled_arguments, pack_labelled, settle_defaults
from preprocess.data_sets.ptb_xl_labels import (
    STATEMENTS_FILE,
    TASKS,
    label_matrix,
    label_set_of,
    parse_all_codes,
    read_statements,
)
from preprocess.data_sets.published_splits import PublishedSplits, print_label_differences, read_published_splits
from preprocess.data_sets.source import read_csv
from preprocess.packing.flat_leads import note_flat_leads
from preprocess.packing.pack import options_from, pack
from preprocess.packing.records import records_table

DATA_SET = "ptb-xl"
LAYOUT = "the layout of PTB-XL 1.0.3: ptbxl_database.csv, scp_statements.csv, records500/, records100/"
DATABASE = "ptbxl_database.csv"
PATH_COLUMN = {500: "filename_hr", 100: "filename_lr"}
SPLIT_OF_FOLD = {**{str(fold): "train" for fold in range(1, 9)}, "9": "valid", "10": "test"}
SEX = {"0": "M", "1": "F"}  # PTB-XL's documentation: 0 = male, 1 = female
PUBLISHED_NAME = {"super": "super_class", "sub": "sub_class", "form": "form", "rhythm": "rhythm"}
OLDEST = 90.0  # years
OLD_VERSIONS = {21837: "1.0.1 or older", 21801: "1.0.2"}  # by number of records; 1.0.3 has 21,799

EXAMPLE = """examples:
  python preprocess/ptb_xl.py --pretrain --root physionet.org/files/ptb-xl/1.0.3 --dest manifests/ptb-xl --jobs 8
  python preprocess/ptb_xl.py --task all --root physionet.org/files/ptb-xl/1.0.3 --dest manifests/ptb-xl-all
  python preprocess/ptb_xl.py --task super --root physionet.org/files/ptb-xl/1.0.3 --dest manifests/ptb-xl-super \\
      --store manifests/ptb-xl-all
  python preprocess/ptb_xl.py --task super --root physionet.org/files/ptb-xl/1.0.3 --dest manifests/ptb-xl-super-2 \\
      --folds 1-8 none 9-10
"""


def read_database(root: Path, rate: int = 500, limit: int | None = None, more: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of the database as text, with a column ``split``.

    Args:
        root: folder of the data set.
        rate: Hz of the files the column of paths must name.
        limit: only so many rows.
        more: further columns needed.

    Raises:
        DataError: the database or a column is missing, or a fold is not 1 to 10.
    """
    path = root / DATABASE
    columns = ["ecg_id", "patient_id", "age", "sex", "recording_date", "report", "strat_fold", PATH_COLUMN[rate], *more]
    table = read_csv(path, columns, LAYOUT)
    if len(table) in OLD_VERSIONS:
        print(
            f"warning: {path}: {len(table)} records, as in version {OLD_VERSIONS[len(table)]}; published counts are those of "
            "1.0.3, which left some out; --splits gives its records",
            file=sys.stderr,
        )
    table = table[:limit].copy()
    table["split"] = table["strat_fold"].map(SPLIT_OF_FOLD)
    if table["split"].isna().any():
        row = int(table["split"].isna().to_numpy().argmax())
        raise DataError(
            f"{path}: ecg_id {table['ecg_id'].iloc[row]} has strat_fold {table['strat_fold'].iloc[row]!r}, not 1 to 10"
        )
    return table


def records_of(table: pd.DataFrame, rate: int = 500) -> pa.Table:
    """The records of database rows as a table of ``RECORDS_SCHEMA``."""
    age = pd.to_numeric(table["age"], errors="coerce").astype("float32")
    return records_table(
        record_id=table["ecg_id"],
        path=table[PATH_COLUMN[rate]],
        subject_id=table["patient_id"].str.replace(r"\.0$", "", regex=True),
        # What cardiologists corrected stands behind the report, as a statement of its own.
        report=table["report"].str.replace(" Edit:", "\nEdit:", regex=False),
        sex=table["sex"].map(SEX).fillna(""),
        age=age.clip(upper=OLDEST),
        time=table["recording_date"].str.replace(" ", "T"),
        split=table["split"],
    )


def read_records(
    root: Path, rate: int = 500, limit: int | None = None, split_of_fold: Mapping[str, str] = SPLIT_OF_FOLD
) -> pa.Table:
    """Table of the records below ``root``, from the 500 Hz or the 100 Hz files.

    Raises:
        DataError: as :func:`read_database`.
    """
    return records_of(divide(read_database(root, rate, limit), split_of_fold), rate)


def divide(table: pd.DataFrame, split_of_fold: Mapping[str, str]) -> pd.DataFrame:
    """The database rows whose fold is of a split, with that split."""
    split = table["strat_fold"].map(split_of_fold)
    return table[split.notna()].assign(split=split.dropna())


def fold_numbers(text: str) -> list[str]:
    """Type of ``--folds``: ``1-8``, ``9``, ``1,3-5`` or ``none``."""
    if text == "none":
        return []
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise argparse.ArgumentTypeError(f"{text!r} is neither folds, as in 1-8 or 1,3-5, nor none")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not numbers or not set(numbers) <= set(range(1, 11)):
        raise argparse.ArgumentTypeError(f"{text!r}: folds are 1 to 10")
    return [str(number) for number in numbers]


def _split_of_fold(folds: Sequence[Sequence[str]]) -> dict[str, str]:
    """Fold → split.

    Raises:
        DataError: a fold is named twice, or none is.
    """
    named = [(fold, split) for split, chosen in zip(("train", "valid", "test"), folds) for fold in chosen]
    if len(dict(named)) < len(named) or not named:
        raise DataError("--folds: name each fold once, e.g. 1-8 none 9-10")
    return dict(named)


def read_labels(root: Path, table: pd.DataFrame, task: str) -> np.ndarray:
    """Labels float32 [n, C] of n database rows, computed from their statements; no 1 = the record is not of the task.

    Raises:
        DataError: ``scp_statements.csv`` or a cell of ``scp_codes`` cannot be used.
    """
    statements = read_statements(root / STATEMENTS_FILE)
    codes = parse_all_codes(table["ecg_id"].tolist(), table["scp_codes"].tolist(), statements, root / DATABASE)
    return label_matrix(codes, statements, task)


def read_splits(folder: Path, task: str) -> PublishedSplits:
    """The split files ``ptbxl_super_class_train.csv``, ``_val.csv`` and ``_test.csv`` that MERL and MELP publish.

    They are looked for in ``folder``, in ``super_class/`` and in ``ptbxl/super_class/`` below it. Columns are taken by
    name: those of the sub files stand in another order in train than in val and test.

    Raises:
        DataError: no files are published for the task, or as :func:`read_published_splits`.
    """
    if task not in PUBLISHED_NAME:
        raise DataError(f"--splits {folder}: no split files are published for task {task}")
    name = PUBLISHED_NAME[task]
    folders = [folder, folder / name, folder / "ptbxl" / name]
    chosen_folder = next((candidate for candidate in folders if (candidate / f"ptbxl_{name}_train.csv").is_file()), folder)
    return read_published_splits(chosen_folder, f"ptbxl_{name}", "ecg_id", class_names(label_set_of(task)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pretrain", action="store_true", help="every record with its report, for pre-training")
    what.add_argument("--task", choices=TASKS, help="records and labels of one task; all = the 71 statements")
    parser.add_argument("--rate", type=int, choices=sorted(PATH_COLUMN), help="which files to read, in Hz (default 500)")
    division = parser.add_mutually_exclusive_group()
    division.add_argument("--splits", type=Path, help="folder of published split files to take records and labels from")
    division.add_argument(
        "--folds",
        type=fold_numbers,
        nargs=3,
        metavar=("TRAIN", "VALID", "TEST"),
        help="folds of the splits, e.g. 1-8 none 9-10; others are left out (1-8 9 10)",
    )
    add_labelled_arguments(parser, splits=False, optional=True)
    args = parser.parse_args(argv)
    settle_defaults(args, labelled=args.task is not None)
    for name in ("store", "splits", "prompts"):
        if args.pretrain and getattr(args, name) is not None:
            parser.error(f"--{name} goes with --task")
    if args.store is not None and args.rate is not None:
        parser.error("--rate chooses the files to pack, and --store takes recordings that are packed already; give one")
    rate = args.rate or 500
    split_of_fold = SPLIT_OF_FOLD if args.folds is None else _split_of_fold(args.folds)
    notes = ["splits: strat_fold 1-8 train, 9 valid, 10 test", "ages above 89 years are stored as 90"]
    if args.folds is not None:
        notes[0] = "splits: strat_fold " + ", ".join(f"{fold} {split}" for fold, split in split_of_fold.items())
    if rate != 500:
        notes.append(f"resampled from {rate} Hz to 500 Hz")
    if args.task:
        return _main_task(args, rate, notes, split_of_fold)
    return pack(
        read_records(args.root, rate, args.limit, split_of_fold),
        args.root,
        args.dest,
        options_from(args),
        data_set=DATA_SET,
        command="preprocess/ptb_xl.py --pretrain",
        notes=notes,
    )


def _main_task(args: argparse.Namespace, rate: int, notes: list[str], split_of_fold: Mapping[str, str]) -> int:
    label_set = label_set_of(args.task)
    table = divide(read_database(args.root, rate, args.limit, ["scp_codes"]), split_of_fold)
    if args.splits is None:
        table, values = _compute(args, table, notes)
    else:
        table, values = _adopt(read_splits(args.splits, args.task), args, table, notes)
    code = pack_labelled(
        records_of(table, rate),
        LabelTable(label_set, class_names(label_set), table["ecg_id"].tolist(), values),
        args,
        data_set=DATA_SET,
        command=f"preprocess/ptb_xl.py --task {args.task}",
        notes=notes,
    )
    note_flat_leads(args.dest)
    return code


def _compute(args: argparse.Namespace, table: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows that have a label of the task, and their labels computed from ``scp_codes``; adds to ``notes``."""
    values = read_labels(args.root, table, args.task)
    labelled = (values == 1).any(axis=1)
    left_out = f"{int((~labelled).sum())} of {len(table)} records have no label of {label_set_of(args.task)}"
    if not labelled.any():
        raise DataError(f"{args.root / DATABASE}: {left_out}")
    print(f"{left_out} and are left out")
    notes += ["labels: every statement of scp_codes counts, whatever its likelihood", f"{left_out} and are left out"]
    return table[labelled], values[labelled]


def _adopt(
    published: PublishedSplits, args: argparse.Namespace, table: pd.DataFrame, notes: list[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of published files, their splits and labels; changes ``notes``, and says how far our own labels agree."""
    position = pd.Index(published.table["ecg_id"]).get_indexer(table["ecg_id"])
    chosen = np.flatnonzero(position >= 0)
    if len(chosen) == 0:
        raise DataError(f"{args.splits}: none of its {len(published.table)} records is in {args.root / DATABASE}")
    table, position = table.iloc[chosen].copy(), position[chosen]
    split, values = published.table["split"].to_numpy()[position], published.labels[position]
    if (args.root / STATEMENTS_FILE).is_file():
        ours = read_labels(args.root, table, args.task)
        what = f"published labels against those computed from scp_codes, {len(table)} records"
        print_label_differences(class_names(label_set_of(args.task)), ours, values, what)
    absent = len(published.table) - table["ecg_id"].nunique()
    if absent:
        print(f"warning: {absent} records of {args.splits} are not in {args.root / DATABASE}", file=sys.stderr)
    moved = int((table["split"].to_numpy() != split).sum())
    if moved:
        print(f"warning: {moved} records are in another split than their strat_fold says", file=sys.stderr)
    table["split"] = split
    notes[0] = "splits and labels: published split files"
    return table, values


if __name__ == "__main__":
    sys.exit(run(main))
