"""The figures of the paper's Tables 1 to 8, to stand beside one's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmelt_plugin.data.files import read_json

TABLES_FILE = Path(__file__).with_name("cmelt_tables.json")


@dataclass(frozen=True)
class Column:
    """A column of a published table.

    Attributes:
        label: its heading.
        match: what a result must be to belong here, e.g. ``{"kind": "zero_shot", "label_set": "csn"}``.
        mean: the column is the mean of the others.
    """

    label: str
    match: dict[str, Any] = field(default_factory=dict)
    mean: bool = False


@dataclass(frozen=True)
class Row:
    """A method's figures; None where the paper gives none. ``spread`` is a standard deviation."""

    method: str
    values: list[float | None]
    spread: list[float | None] | None = None


@dataclass(frozen=True)
class Table:
    """A published table, in percent.

    Attributes:
        id: ``1-dx``, ``1-id``, ``2`` … ``8``.
        number: the paper's number.
        title, unit: for headings.
        metric: the name in ``Result.metrics`` that the table shows.
        columns, rows: the figures.
        grid: name of the ablation grid, for Tables 6 to 8.
    """

    id: str
    number: str
    title: str
    unit: str
    metric: str
    columns: list[Column]
    rows: list[Row]
    grid: str = ""


def published_tables() -> list[Table]:
    """Tables 1 to 8 of the C-MELT paper, with every method they list."""
    tables = []
    for entry in read_json(TABLES_FILE)["tables"]:
        columns = [Column(**column) for column in entry.pop("columns")]
        rows = [Row(**row) for row in entry.pop("rows")]
        tables.append(Table(columns=columns, rows=rows, **entry))
    return tables


def source() -> str:
    """Where the figures come from."""
    return str(read_json(TABLES_FILE)["source"])
