"""Tables of the user's own: recordings with their times, echocardiograms with what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.data.readers.arrays import Place
from cmelt_plugin.errors import DataError
from preprocess.data_sets.mimic_iv_echo import Echoes, to_time
from preprocess.data_sets.table_labels import labels_of_columns
from preprocess.data_sets.table_source import read_table
from preprocess.packing.records import records_table


def read_recordings(path: Path, report_column: str | None = None) -> pa.Table:
    """Recordings from a table with columns ``record_id, path, subject_id, time`` and, if named, one of reports.

    Raises:
        DataError: the table cannot be read, lacks a column, or a row has no id or no path.
    """
    columns = ["record_id", "path", "subject_id", "time"]
    table = read_table(path, [*columns, *([report_column] if report_column else [])])
    for name in ("record_id", "path"):
        empty = np.flatnonzero(table[name] == "")
        if len(empty):
            raise DataError(f"{path}, row {empty[0] + 1}: no {name}")
    return records_table(
        record_id=table["record_id"],
        path=[Place.parse(text).encode() for text in table["path"]],
        subject_id=table["subject_id"],
        report=table[report_column].tolist() if report_column else None,
        time=[text.replace(" ", "T", 1) for text in table["time"]],
    )


def read_echo_table(path: Path, lvef_column: str | None = None, label_columns: Sequence[str] = ()) -> Echoes:
    """Echocardiograms from a table with columns ``teacher_id, subject_id, time``, one row each.

    Args:
        path: CSV, TSV or Parquet.
        lvef_column: ejection fraction in per cent.
        label_columns: 0, 1 or nothing.

    Raises:
        DataError: the table cannot be read or lacks a column, a teacher_id occurs twice, or a cell is no such number or label.
    """
    more = [*([lvef_column] if lvef_column else []), *label_columns]
    cells = read_table(path, ["teacher_id", "subject_id", "time", *more])
    ids = cells["teacher_id"]
    named = ids[ids != ""]
    if named.duplicated().any():
        raise DataError(f"{path}: teacher_id {named[named.duplicated()].iloc[0]} occurs twice; a row is one echocardiogram")
    lvef = np.full(len(cells), np.nan)
    if lvef_column:
        lvef = pd.to_numeric(cells[lvef_column], errors="coerce").to_numpy(float)
        odd = (cells[lvef_column] != "").to_numpy() & ~((lvef >= 0) & (lvef <= 100))
        if odd.any():
            row = int(odd.argmax())
            raise DataError(
                f"{path}, row {row + 1}, column {lvef_column}: {cells[lvef_column].iloc[row]!r:.40} is no number of 0 to 100 "
                f"(per cent); {int(odd.sum()):,} such rows; leave the cell empty where it is not known"
            )
        if len(lvef) and np.nanmax(np.append(lvef, 0)) <= 1 and (lvef > 0).any():
            raise DataError(f"{path}, column {lvef_column}: no number is above 1; ejection fractions must be per cent")
    table = pd.DataFrame(
        {
            "echo_id": ids,
            "subject_id": cells["subject_id"],
            "time": to_time(cells["time"]),
            "lvef": lvef,
            "videos": [[name] if name else [] for name in ids],
        }
    )
    if label_columns:
        rows = [name or f"row {number}" for number, name in enumerate(ids, start=1)]
        table[list(label_columns)] = labels_of_columns(cells, label_columns, rows, path)
    counts = [f"{len(table):,} echocardiograms in {path.name}; with an ejection fraction: {int((~np.isnan(lvef)).sum()):,}"]
    return Echoes(table, counts)
