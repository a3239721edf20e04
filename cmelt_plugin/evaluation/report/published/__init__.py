"""Results that papers print, to stand beside one's own: a JSON file a paper, in this folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmelt_plugin.data.files import read_json

FOLDER = Path(__file__).resolve().parent


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
    """A method's results; None where the paper gives none. ``spread`` is a standard deviation."""

    method: str
    values: list[float | None]
    spread: list[float | None] | None = None


@dataclass(frozen=True)
class Table:
    """A published table, in percent.

    Attributes:
        id: names the table among those of all papers, and its files.
        number: the paper's number.
        title, unit: for headings.
        metric: the name in ``Result.metrics`` that the table shows.
        columns, rows: the numbers.
        grid: name of the ablation grid, for tables of ablations.
        source: the paper.
    """

    id: str
    number: str
    title: str
    unit: str
    metric: str
    columns: list[Column]
    rows: list[Row]
    grid: str = ""
    source: str = ""


def published_tables(folder: Path = FOLDER) -> list[Table]:
    """The tables of all papers, with every method they list.

    Raises:
        ValueError: two tables have the same id.
    """
    tables: dict[str, Table] = {}
    for path in sorted(folder.glob("*.json")):
        paper = read_json(path)
        for entry in paper["tables"]:
            columns = [Column(**column) for column in entry.pop("columns")]
            rows = [Row(**row) for row in entry.pop("rows")]
            table = Table(columns=columns, rows=rows, source=str(paper["source"]), **entry)
            if table.id in tables:
                raise ValueError(f"{path.name}: table {table.id} is also one of {tables[table.id].source}")
            tables[table.id] = table
    return list(tables.values())
