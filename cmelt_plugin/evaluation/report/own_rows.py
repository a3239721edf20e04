"""Published tables extended by one's own results: a row per model below those of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.evaluation.report.descriptions import lead_set, row_name
from cmelt_plugin.evaluation.report.published import Column, Table
from cmelt_plugin.evaluation.result_files import Result, StoredResult
from cmelt_plugin.tables import DASH


class Cell(NamedTuple):
    """A value in percent.

    Attributes:
        value: None = not measured.
        low, high: 95 % interval, or None.
        spread: standard deviation over seeds, or None.
        n_records: size of the split it was measured on; None for published values.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    n_records: int | None = None

    def text(self, digits: int = 2) -> str:
        """The value with what is known of its uncertainty."""
        if self.value is None or not np.isfinite(self.value):
            return DASH
        spread = "" if self.spread is None else f" ± {self.spread:.{digits}f}"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"{self.value:.{digits}f}{spread}{interval}"


class ExtendedRow(NamedTuple):
    """A row of an extended table; ``own`` = measured by us."""

    method: str
    cells: list[Cell]
    own: bool


class ExtendedTable(NamedTuple):
    """A published table with one's own rows below."""

    table: Table
    rows: list[ExtendedRow]

    @property
    def has_own(self) -> bool:
        return any(row.own for row in self.rows)

    def heads(self) -> list[str]:
        return ["method", *(column.label for column in self.table.columns)]

    def texts(self, digits: int = 2) -> list[list[str]]:
        return [[row.method, *(cell.text(digits) for cell in row.cells)] for row in self.rows]

    def sizes(self) -> list[str]:
        """Per column, how many records our values rest on: ``880`` or, where they differ, ``66 to 880``."""
        sizes = []
        for index in range(len(self.table.columns)):
            counts = {row.cells[index].n_records for row in self.rows if row.own} - {None}
            known = sorted(n for n in counts if n is not None)
            sizes.append(DASH if not known else str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}")
        return sizes


def matches(result: Result, wanted: dict[str, Any]) -> bool:
    """Whether a result belongs into a column; fractions are compared as numbers."""
    for key, value in wanted.items():
        if key == "settings.lead_set":
            value_here: Any = lead_set(result)
        elif key.startswith("settings."):
            value_here = result.settings.get(key[len("settings.") :])
        else:
            value_here = getattr(result, key)
        if isinstance(value, float) and isinstance(value_here, (int, float)):
            if abs(float(value_here) - value) > 1e-9:
                return False
        elif value_here != value:
            return False
    return True


def extend(table: Table, results: Sequence[StoredResult]) -> ExtendedTable:
    """The published rows, then one row per model of ``results`` that has something for the table.

    Of several results for the same cell the test split goes before others, then the one read last.
    """
    rows = [
        ExtendedRow(row.method, [Cell(value, spread=spread) for value, spread in _pairs(row.values, row.spread)], False)
        for row in table.rows
    ]
    own: dict[str, dict[int, Result]] = {}
    for stored in results:
        result = stored.result
        if table.grid and result.settings.get("grid") != table.grid:
            continue
        if table.metric not in result.metrics:
            continue
        for index, column in enumerate(table.columns):
            if not column.mean and matches(result, column.match):
                cells = own.setdefault(row_name(result), {})
                if index not in cells or result.split == "test" or cells[index].split != "test":
                    cells[index] = result
    columns = range(len(table.columns))
    for method, measured in own.items():
        values = [_cell(measured[index], table.metric) if index in measured else Cell(None) for index in columns]
        rows.append(ExtendedRow(method, _with_means(table.columns, values), True))
    return ExtendedTable(table, rows)


def _pairs(values: Sequence[float | None], spread: Sequence[float | None] | None) -> list[tuple[Any, Any]]:
    return list(zip(values, spread if spread is not None else [None] * len(values)))


def _cell(result: Result, metric: str) -> Cell:
    interval = result.intervals.get(metric)
    spread = result.spread.get(metric)
    return Cell(
        100 * result.metrics[metric],
        None if interval is None else 100 * interval[0],
        None if interval is None else 100 * interval[1],
        None if spread is None else 100 * spread,
        result.n_records,
    )


def _with_means(columns: Sequence[Column], cells: list[Cell]) -> list[Cell]:
    """Fill columns that are the mean of the others, where all of these were measured."""
    values = [cell.value for column, cell in zip(columns, cells) if not column.mean]
    complete = all(value is not None for value in values)
    mean = Cell(float(np.mean(np.array(values, dtype=float)))) if complete else Cell(None)
    return [mean if column.mean else cell for column, cell in zip(columns, cells)]
