"""Reading the split files that papers publish: PREFIX_train.csv, PREFIX_val.csv, PREFIX_test.csv.

Class columns are taken by name. The files of one data set need not agree on their order (in those of PTB-XL's
sub-classes, train and test do not), and whoever reads labels by position scores some classes against others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cmelt_plugin.errors import DataError
from preprocess.data_sets.label_tables import class_column
from preprocess.data_sets.source import read_csv

SPLIT_OF_FILE = {"train": "train", "val": "valid", "test": "test"}


class PublishedSplits(NamedTuple):
    """The rows of the three files, train first."""

    table: pd.DataFrame
    """Text columns that were asked for, and ``split`` ("train", "valid" or "test")."""
    labels: np.ndarray
    """float32 [n, C]: 1, 0 or NaN, columns in the order asked for."""


def read_published_splits(
    folder: Path, prefix: str, id_column: str, classes: Sequence[str], also: Sequence[str] = ()
) -> PublishedSplits:
    """Read the three files of a data set.

    Args:
        folder: folder that holds the files, or a folder ``prefix`` with them.
        prefix: first part of their names.
        id_column: column that names the record; no value may occur twice.
        classes: the C class columns to take.
        also: further columns to keep as text.

    Returns:
        :class:`PublishedSplits` of n rows.

    Raises:
        DataError: a file or column is missing, a cell is not 0, 1 or empty, or a record occurs twice, be it in one
            split or in two.
    """
    if (folder / prefix).is_dir() and not (folder / f"{prefix}_train.csv").is_file():
        folder = folder / prefix
    expected = f"{prefix}_train.csv, {prefix}_val.csv and {prefix}_test.csv with a column {id_column} and one per class"
    columns = [id_column, *also]
    tables, labels = [], []
    for name, split in SPLIT_OF_FILE.items():
        path = folder / f"{prefix}_{name}.csv"
        table = read_csv(path, [*columns, *classes], expected)
        labels.append(_values(table, classes, path, id_column))
        tables.append(table[columns].assign(split=split))
    whole = pd.concat(tables, ignore_index=True)
    twice = whole[id_column].duplicated()
    if twice.any():
        record = whole[id_column][twice].iloc[0]
        places = ", ".join(whole["split"][whole[id_column] == record])
        raise DataError(f"{folder}: {record} occurs more than once ({places})")
    return PublishedSplits(whole, np.concatenate(labels))


def _values(table: pd.DataFrame, classes: Sequence[str], path: Path, id_column: str) -> np.ndarray:
    values = np.empty((len(table), len(classes)), dtype=np.float32)
    for column, name in enumerate(classes):
        values[:, column] = class_column(table[name], table[name], lambda row: f"{path}, {table[id_column].iloc[row]}")
    return values


def print_label_differences(names: Sequence[str], ours: np.ndarray, theirs: np.ndarray, what: str) -> int:
    """Print in how many cells two label tables ``[n, C]`` differ, by class; cells unknown to either do not count."""
    known = ~(np.isnan(ours) | np.isnan(theirs))
    different = known & (ours != theirs)
    total = int(different.sum())
    print(f"{what}: {total} of {int(known.sum())} cells differ")
    for name, count in zip(names, different.sum(axis=0)):
        if count:
            print(f"  {name}: {int(count)}")
    return total
