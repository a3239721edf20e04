"""Recordings as text: columns of numbers, comma-separated in .csv, tab-separated in .tsv, separated by blanks in .txt."""

from __future__ import annotations

import csv
import io
import os
from array import array
from collections.abc import Iterator

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import LARGEST_ARRAY, Rejected, file_name, open_file

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": None}
LARGEST_TEXT = 1 << 28  # bytes
LONGEST_LINE = 1 << 24  # characters: half an hour of one lead in a line
MOST_COLUMNS = 1_000_000


def read_text(path: str | os.PathLike) -> tuple[tuple[str, ...], np.ndarray]:
    """Lead names, where a header has any, and float64 [lines, columns]; empty cells are NaN.

    Where a header names leads, the columns of these are taken, so that a column of times does no harm.

    Raises:
        Rejected: not a regular file, too large, or a lead twice.
        ValueError: a cell is no number, or a line longer than the first.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    handle, size = open_file(path)
    with io.TextIOWrapper(io.BufferedReader(handle), encoding="utf-8-sig", newline="") as text:
        if size > LARGEST_TEXT:
            raise Rejected("large", f"{file_name(path)}: {size:,} bytes, at most {LARGEST_TEXT:,} are read")
        lines = _cells(_lines(text, SEPARATORS[suffix]), SEPARATORS[suffix])
        first = next(lines, None)
        if first is None:
            raise ValueError("no numbers")
        names: tuple[str, ...] = ()
        chosen: list[int] | None = None
        width = len(first)
        values = array("d")
        if not any(_is_number(cell) for cell in first):
            known = {lead.lower() for lead in LEADS}
            chosen = [number for number, cell in enumerate(first) if cell.lower() in known] or None
            names = tuple(first[number] for number in chosen or ())
        else:
            values.extend(_numbers(first, width))
        for cells in lines:
            if len(cells) > width:
                raise ValueError(f"a line of {len(cells)} cells where the first has {width}")
            if chosen is not None:
                cells = [cells[number] if number < len(cells) else "" for number in chosen]
            values.extend(_numbers(cells, len(chosen) if chosen is not None else width))
            if len(values) * 8 > LARGEST_ARRAY:
                raise Rejected("large", f"{file_name(path)}: more than {LARGEST_ARRAY // 8:,} numbers")
    return names, np.frombuffer(values, dtype=np.float64).reshape(-1, len(names) or width)


def _lines(text: io.TextIOWrapper, separator: str | None) -> Iterator[str]:
    for line in iter(lambda: text.readline(LONGEST_LINE), ""):
        if len(line) >= LONGEST_LINE or line.count(separator or " ") > MOST_COLUMNS:
            raise ValueError(f"a line of {LONGEST_LINE:,} characters or {MOST_COLUMNS:,} cells")
        yield line


def _cells(lines: Iterator[str], separator: str | None) -> Iterator[list[str]]:
    """The cells of each line that is not empty."""
    for line in map(str.split, lines) if separator is None else csv.reader(lines, delimiter=separator):
        cells = [cell.strip() for cell in line]
        if len(cells) > 1 or (cells and cells[0]):
            yield cells


def _numbers(cells: list[str], width: int) -> list[float]:
    numbers = [_number(cell) if cell else np.nan for cell in cells]
    return numbers + [np.nan] * (width - len(numbers))


def _number(text: str) -> float:
    # Python takes 1_0 for ten and the digits of other scripts for numbers; in a recording they are damage.
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True
