"""Reading the CSV files of a data set."""

from __future__ import annotations

import codecs
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import pandas as pd

from cmelt_plugin.errors import DataError


def read_csv(path: Path, columns: Sequence[str], expected: str, also: str | None = None) -> pd.DataFrame:
    """Read columns of a UTF-8 CSV file as text, empty cells as "".

    Bytes that are not UTF-8 are read as Latin-1, and how many is said on stderr.

    Args:
        path: the file.
        columns: columns that must be there.
        expected: what the folder should hold, for the error message.
        also: regular expression of further columns to read where they exist.

    Raises:
        DataError: the file is missing, lacks a column or has it twice, or is not a CSV file.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected {expected}")
    print(f"reading {path}", file=sys.stderr)
    replaced = 0

    def as_latin_1(error: UnicodeError) -> tuple[str, int]:
        nonlocal replaced
        if not isinstance(error, UnicodeDecodeError):
            raise error
        replaced += error.end - error.start
        return error.object[error.start : error.end].decode("latin-1"), error.end

    codecs.register_error("cmelt-latin-1", as_latin_1)
    try:
        with open(path, encoding="utf-8-sig", errors="cmelt-latin-1", newline="") as handle:
            known = read_names(handle)
            chosen = [name for name in known if name in columns or (also and re.fullmatch(also, name))]
            places = find_columns(path, known, list(dict.fromkeys([*columns, *chosen])), f"expected {expected}")
            handle.seek(0)
            replaced = 0
            # All columns, because with usecols pandas accepts rows that have more cells than the header. It only warns
            # when the first row does.
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                table = pd.read_csv(handle, index_col=False, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: not a CSV file ({' '.join(str(error).split())}); expected {expected}") from None
    if replaced:
        print(f"warning: {path}: {replaced} bytes are not UTF-8 and were read as Latin-1", file=sys.stderr)
    table = table.iloc[:, sorted(places)]
    table.columns = [known[place] for place in sorted(places)]
    return table.fillna("").apply(lambda column: column.str.strip())


def read_names(handle: TextIO, separator: str = ",") -> list[str]:
    """Names of the columns as they stand in a file; pandas would call the second of two ``x`` ``x.1``."""
    first = pd.read_csv(handle, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False)
    return first.iloc[0].tolist()


def find_columns(path: Path, known: Sequence[str], wanted: Sequence[str], expected: str) -> list[int]:
    """Where the columns ``wanted`` are among all the columns ``known``.

    Raises:
        DataError: one is missing, or there twice: which of the two is meant nobody can tell.
    """
    missing = [name for name in wanted if name not in known]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; {expected}")
    several = [name for name in wanted if known.count(name) > 1]
    if several:
        counts = ", ".join(f"{name} ({known.count(name)} times)" for name in several)
        raise DataError(f"{path}: several columns of one name: {counts}; rename or remove all but one")
    return [known.index(name) for name in wanted]
