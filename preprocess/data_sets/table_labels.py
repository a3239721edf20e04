"""Labels from the columns of the user's table: a column of 0 and 1 per class, or one column that names the classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cmelt_plugin.errors import DataError
from preprocess.data_sets.label_tables import class_column


def split_names(cells: Sequence[str], separator: str) -> list[list[str]]:
    """Class names in each cell, e.g. ``AF; PVC``; names are compared whole, never by what they contain."""
    return [[name.strip() for name in cell.split(separator) if name.strip()] for cell in cells]


def labels_of_names(
    named: Sequence[Sequence[str]], classes: Sequence[str] | None = None, empty: str = "unknown"
) -> tuple[np.ndarray, list[str], dict[str, int]]:
    """Labels from lists of class names.

    Args:
        named: class names of n records.
        classes: the C classes in column order; None = all that occur, sorted.
        empty: what a record without any name is: ``unknown`` (NaN throughout) or ``absent`` (0 throughout).

    Returns:
        float32 [n, C]; the classes; and how often names occur that are not among them.
    """
    names = list(classes) if classes is not None else sorted({name for record in named for name in record})
    column = {name: number for number, name in enumerate(names)}
    values = np.zeros((len(named), len(names)), dtype=np.float32)
    others: dict[str, int] = {}
    for row, record in enumerate(named):
        if not record and empty == "unknown":
            values[row] = np.nan
        for name in record:
            if name in column:
                values[row, column[name]] = 1
            else:
                others[name] = others.get(name, 0) + 1
    return values, names, others


def labels_of_columns(table: pd.DataFrame, names: Sequence[str], ids: Sequence[str], path: Path) -> np.ndarray:
    """Labels float32 [n, C] from C columns of 1 or true, 0 or false, or nothing (unknown).

    Args:
        table: n rows of text.
        names: C columns of it.
        ids: what the rows are called in messages.
        path: the table's file, for messages.

    Raises:
        DataError: no class, a class twice, or another cell.
    """
    if not names or len(set(names)) < len(names):
        raise DataError(f"--label-columns {','.join(names)}: give the name of each class column once")
    values = np.empty((len(table), len(names)), dtype=np.float32)
    for number, name in enumerate(names):
        cells = table[name].str.lower().replace({"true": "1", "false": "0"})
        values[:, number] = class_column(cells, table[name], lambda row: f"{path}, record {ids[row]}")
    return values


def check_multi_class(values: np.ndarray, ids: Sequence[str], path: Path) -> None:
    """Check that every record has exactly one class, or is unknown throughout.

    Raises:
        DataError: a record has none or several.
    """
    ones, unknown = (values == 1).sum(axis=1), np.isnan(values)
    wrong = ~(unknown.all(axis=1) | ((ones == 1) & ~unknown.any(axis=1)))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{path}, record {ids[row]}: {int(ones[row])} classes; --multi-class needs exactly one for each record, and "
            f"{int(wrong.sum())} have not"
        )
