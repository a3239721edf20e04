"""Recordings as text: columns of numbers, comma-separated in .csv, tab-separated in .tsv, separated by blanks in .txt."""

from __future__ import annotations

import csv
import io
import os
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.lead_codes import OTHER_LEADS, lead_name
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import LARGEST_ARRAY, Rejected, file_name, open_file

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": None}
LARGEST_TEXT = 1 << 28  # bytes
LONGEST_LINE = 1 << 24  # characters: half an hour of one lead in a line
MOST_COLUMNS = 1_000_000
NAMED = 10  # columns named in a note or a message
# Three axes of a sensor have the names of Frank's leads: they are leads only where a description names them.
_KNOWN = ({lead.lower() for lead in LEADS} | OTHER_LEADS) - {"x", "y", "z"}


class Table(NamedTuple):
    """What a text file holds."""

    leads: tuple[str, ...]
    """Names of the columns, where the file or its description says them."""
    values: np.ndarray
    """float64 ``[lines, columns]``; empty cells are NaN."""
    left: tuple[str, ...] = ()
    """Headings of the columns that are not taken."""


def read_text(path: str | os.PathLike, leads: Sequence[str] = ()) -> Table:
    """The columns of leads.

    Where a heading names leads, in any way that :func:`.lead_name` knows, the columns of these are taken, so that a column of
    times does no harm. Leads of other names are known by ``leads``.

    Args:
        path: the file.
        leads: what a description says of the columns, in their order; () = nothing.

    Raises:
        Rejected: not a regular file, too large, or its heading names other leads than ``leads`` or these in another order.
        ValueError: a cell is no number, or a line longer than the first; the message says which line.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    handle, size = open_file(path)
    with io.TextIOWrapper(io.BufferedReader(handle), encoding="utf-8-sig", newline="") as text:
        if size > LARGEST_TEXT:
            raise Rejected("large", f"{file_name(path)}: {size:,} bytes, at most {LARGEST_TEXT:,} are read")
        lines = _cells(_lines(text, SEPARATORS[suffix]), SEPARATORS[suffix])
        number, first = next(lines, (0, None))
        if first is None:
            raise ValueError("no numbers")
        names: tuple[str, ...] = tuple(leads)
        left: tuple[str, ...] = ()
        chosen: list[int] | None = None
        width = len(first)
        values = array("d")
        if not any(_is_number(cell) for cell in first):
            headings = [lead_name(cell) for cell in first]
            chosen = _columns(file_name(path), headings, leads) or None
            if chosen is not None:
                names = tuple(headings[column] for column in chosen)
                left = tuple(cell for column, cell in enumerate(first) if column not in chosen)
        else:
            values.extend(_numbers(first, width, number))
        for number, cells in lines:
            if len(cells) > width:
                raise ValueError(f"line {number}: {len(cells)} cells where the first line has {width}")
            if chosen is not None:
                cells = [cells[column] if column < len(cells) else "" for column in chosen]
            values.extend(_numbers(cells, len(chosen) if chosen is not None else width, number))
            if len(values) * 8 > LARGEST_ARRAY:
                raise Rejected("large", f"{file_name(path)}: more than {LARGEST_ARRAY // 8:,} numbers")
    return Table(names, np.frombuffer(values, dtype=np.float64).reshape(-1, width if chosen is None else len(chosen)), left)


def _columns(name: str, headings: Sequence[str], leads: Sequence[str]) -> list[int]:
    """The columns of leads: of the given ones, where there are any, or else of all that are known.

    Raises:
        Rejected: the heading lacks given leads, or has them in another order.
    """
    low, wanted = [heading.lower() for heading in headings], [lead_name(lead).lower() for lead in leads]
    known = [column for column, heading in enumerate(low) if heading in _KNOWN or heading in wanted]
    chosen = [column for column in known if low[column] in wanted]
    if not wanted or not known:
        return known
    if [low[column] for column in chosen] != wanted:
        named = [headings[column] for column in known]
        raise Rejected("leads", f"{name}: its heading names {listed(named)}, but its description {listed(leads)}")
    return chosen


def listed(names: Sequence[str]) -> str:
    """The first of many names, as one text."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _lines(text: io.TextIOWrapper, separator: str | None) -> Iterator[str]:
    for line in iter(lambda: text.readline(LONGEST_LINE), ""):
        if len(line) >= LONGEST_LINE or line.count(separator or " ") > MOST_COLUMNS:
            raise ValueError(f"a line of {LONGEST_LINE:,} characters or {MOST_COLUMNS:,} cells")
        yield line


def _cells(lines: Iterator[str], separator: str | None) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line that is not empty."""
    for number, line in enumerate(map(str.split, lines), start=1) if separator is None else _rows(lines, separator):
        cells = [cell.strip() for cell in line]
        if len(cells) > 1 or (cells and cells[0]):
            yield number, cells


def _rows(lines: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(lines, delimiter=separator)
    for row in rows:
        yield rows.line_num, row


def _numbers(cells: list[str], width: int, line: int) -> list[float]:
    try:
        numbers = [_number(cell) if cell else np.nan for cell in cells]
    except ValueError:
        wrong = next(cell for cell in cells if cell and not _is_number(cell))
        raise ValueError(f"line {line}: {wrong[:40]!r} where a number should be, below one line of headings at most") from None
    return numbers + [np.nan] * (width - len(numbers))


def _number(text: str) -> float:
    # Python takes 1_0 for ten and the digits of other scripts for numbers; in a recording they are damage.
    if "_" in text or not text.isascii():
        raise ValueError
    return float(text)


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True
