"""Reading the user's table of records: CSV, TSV or Parquet, every cell as text."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cmelt_plugin.errors import DataError
from preprocess.data_sets.source import find_columns, read_csv, read_names

PARQUET = (".parquet", ".pq")
TABS = (".tsv", ".tab")


def read_table(path: Path, columns: Sequence[str], separator: str = ";") -> pd.DataFrame:
    """Read columns of a table as text without surrounding blanks, missing values as "".

    Args:
        path: .parquet or .pq, .tsv or .tab (tab-separated), anything else comma-separated.
        columns: columns to read.
        separator: what joins the elements of cells that are lists, which Parquet knows.

    Raises:
        DataError: the file is missing, lacks a column or has it twice, is not what its suffix says, has quotation marks that do
            not match, or has no rows.
    """
    wanted = list(dict.fromkeys(columns))
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        table = _read_parquet(path, wanted, separator)
    elif suffix in TABS:
        table = _read_tsv(path, wanted)
        _check_quotes(path, "\t")
    else:
        table = read_csv(path, wanted, "a table with one row per record")
        _check_quotes(path, ",")
    if len(table) == 0:
        raise DataError(f"{path}: no rows")
    return table[wanted].reset_index(drop=True)


def table_columns(path: Path) -> list[str]:
    """Names of the columns of a table that :func:`read_table` reads.

    Raises:
        DataError: the file is missing or is not what its suffix says.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in PARQUET:
            return list(pq.read_schema(path).names)
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as handle:
            return read_names(handle, "\t" if suffix in TABS else ",")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: not a table ({' '.join(str(error).split())})") from None


def _check_quotes(path: Path, separator: str) -> None:
    """Refuse a table in which a quotation mark that is never closed joins rows: pandas takes the next one for its end.

    Raises:
        DataError: text follows a closing quotation mark.
    """
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
            rows = csv.reader(handle, delimiter=separator, strict=True)
            for _ in rows:
                pass
    except csv.Error as error:
        raise DataError(
            f"{path}, line {rows.line_num} or before: quotation marks that do not match ({error}), so that rows would be taken "
            'for one; write " within a quoted cell twice, and quote cells that begin with it'
        ) from None
    finally:
        csv.field_size_limit(limit)


def _read_parquet(path: Path, columns: list[str], separator: str) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        known = pq.read_schema(path).names
        find_columns(path, known, columns, f"it has {', '.join(known)}")
        table = pq.ParquetFile(path).read(columns)  # pq.read_table of pyarrow 21 refuses names that are there twice
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({' '.join(str(error).split())})") from None
    return pd.DataFrame(
        {name: [_text(value, separator) for value in table[name].to_pylist()] for name in columns}, dtype=object
    )


def _read_tsv(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more cells than the header
            with open(path, encoding="utf-8-sig", newline="") as handle:
                known = read_names(handle, "\t")
                places = find_columns(path, known, columns, f"it has {', '.join(known)}")
                handle.seek(0)
                table = pd.read_csv(handle, sep="\t", dtype=str, keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: not a table separated by tabs ({' '.join(str(error).split())})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); save it with this encoding") from None
    table = table.iloc[:, places]
    table.columns = columns
    return table.fillna("").apply(lambda column: column.str.strip())


def _text(value: Any, separator: str) -> str:
    """A cell of a Parquet file as a CSV file would hold it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, (list, tuple)):
        return separator.join(_text(element, separator) for element in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # an id with missing values beside it has become a float
    return str(value).strip()
