"""Tables of papers, to stand one's own results below: every ``*.json`` file of this folder holds those of one paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmelt_plugin.data.files import read_json

FOLDER = Path(__file__).parent


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
    """What a method reached; None where the paper gives nothing. ``spread`` is a standard deviation."""

    method: str
    values: list[float | None]
    spread: list[float | None] | None = None


@dataclass(frozen=True)
class Table:
    """A published table, in percent.

    Attributes:
        id: of its own among all tables of all papers: ``1-dx``, ``2`` …
        number: the paper's number.
        title, unit: for headings.
        metric: the name in ``Result.metrics`` that the table shows.
        columns, rows: what the paper gives.
        source: the paper.
        grid: name of the ablation grid whose results belong here, for tables of ablations.
    """

    id: str
    number: str
    title: str
    unit: str
    metric: str
    columns: list[Column]
    rows: list[Row]
    source: str
    grid: str = ""


def published_tables(folder: Path = FOLDER) -> list[Table]:
    """The tables of every file in ``folder``, with every method they list; files in the order of their names.

    Raises:
        ValueError: two tables have one id.
    """
    tables = []
    for path in sorted(folder.glob("*.json")):
        paper = read_json(path)
        for entry in paper["tables"]:
            columns = [Column(**column) for column in entry.pop("columns")]
            rows = [Row(**row) for row in entry.pop("rows")]
            tables.append(Table(columns=columns, rows=rows, source=str(paper["source"]), **entry))
    ids = [table.id for table in tables]
    repeated = {name for name in ids if ids.count(name) > 1}
    if repeated:
        raise ValueError(f"{folder}: several tables with the id {', '.join(sorted(repeated))}")
    return tables
