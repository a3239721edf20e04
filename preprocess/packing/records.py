"""The table of records that a data set hands to the packing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np
import pandas as pd
import pyarrow as pa

from cmelt_plugin.data.text.reports import normal_statements

# A column of a table to be made, one value a record.
Texts = Union[Sequence[str], pd.Series]
Numbers = Union[Sequence[float], pd.Series, np.ndarray]

RECORDS_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("path", pa.string()),  # relative to the data set's root, as the reader wants it
        ("subject_id", pa.string()),
        ("report", pa.string()),  # normalised, "" = none
        ("sex", pa.string()),  # "F", "M" or ""
        ("age", pa.float32()),  # years, NaN = unknown
        ("time", pa.string()),  # ISO 8601, "" = unknown
        ("split", pa.string()),  # "" = by subject hash
    ]
)
SOURCE_COLUMN = "source"
STATEMENTS_COLUMN = "statements"
"""The statements of the report, one a line; none of them holds a line break, and with blanks between they are the report."""


def _lines(reports: Sequence[str | tuple[str, ...]]) -> list[str]:
    """Normalised statements of each report, one a line, computed once per distinct report."""
    normal = {report: "\n".join(normal_statements(report)) for report in set(reports)}
    return [normal[report] for report in reports]


def records_table(
    *,
    record_id: Texts,
    path: Texts,
    subject_id: Texts,
    report: Texts | Sequence[str | tuple[str, ...]] | None = None,
    sex: Texts | None = None,
    age: Numbers | None = None,
    time: Texts | None = None,
    split: Texts | None = None,
    source: Texts | None = None,
) -> pa.Table:
    """Table of :data:`RECORDS_SCHEMA`, one row per record in the order of the source; reports are normalised here.

    A ``report`` is a free text, which is divided into statements, or the tuple of its statements. With reports there is one
    column more, :data:`STATEMENTS_COLUMN`, and with ``source`` another, :data:`SOURCE_COLUMN`: the part of the data set each
    record comes from.
    """
    n = len(record_id)
    empty = [""] * n
    lines = None if report is None else _lines(list(report))
    columns = [
        pa.array(list(record_id), pa.string()),
        pa.array(list(path), pa.string()),
        pa.array(list(subject_id), pa.string()),
        pa.array(empty if lines is None else [text.replace("\n", " ") for text in lines], pa.string()),
        pa.array(list(sex) if sex is not None else empty, pa.string()),
        pa.array(np.asarray(age if age is not None else np.full(n, np.nan), dtype=np.float32)),
        pa.array(list(time) if time is not None else empty, pa.string()),
        pa.array(list(split) if split is not None else empty, pa.string()),
    ]
    table = pa.table(columns, schema=RECORDS_SCHEMA)
    if lines is not None:
        table = table.append_column(STATEMENTS_COLUMN, pa.array(lines, pa.string()))
    return table if source is None else table.append_column(SOURCE_COLUMN, pa.array(list(source), pa.string()))
