"""``SPLIT.meta.parquet``: who each record of a split is of, its report and its source, one row per line of the TSV."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.errors import DataError

META_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("subject_id", pa.string()),
        ("report_id", pa.int32()),  # row of reports.parquet, -1 = none
        ("sex", pa.string()),  # "F", "M" or ""
        ("age", pa.float32()),  # years, NaN = unknown
        ("source", pa.string()),
        ("time", pa.string()),  # ISO 8601, "" = unknown
        ("source_rate", pa.float32()),  # Hz of the original file
    ]
)
OPTIONAL_SCHEMA = pa.schema(
    [
        ("teacher_id", pa.string()),  # echocardiogram of a teacher sidecar, null = none
        ("delta_hours", pa.float32()),  # time of the echocardiogram minus that of the ECG, NaN = none
        ("lvef", pa.float32()),  # ejection fraction of the left ventricle, per cent, NaN = unknown
    ]
)
"""Columns of directories with echocardiograms."""
NEVER_NULL = ("record_id", "subject_id", "report_id")
_FIELDS = {field.name: field for schema in (META_SCHEMA, OPTIONAL_SCHEMA) for field in schema}


def meta_path(directory: str | os.PathLike, split: str) -> Path:
    """Path of a split's meta file."""
    return Path(directory) / f"{split}.meta.parquet"


@contextmanager
def open_meta(directory: Path, split: str, rows: int, columns: Sequence[str] | None = None) -> Iterator[pq.ParquetFile]:
    """``SPLIT.meta.parquet``, open.

    Raises:
        DataError: it is missing, unreadable, lacks one of ``columns``, or has not so many rows.
    """
    path = meta_path(directory, split)
    if not path.is_file():
        raise DataError(f"{path}: no such file; it belongs beside {split}.tsv")
    check_listed(path)
    try:
        with pq.ParquetFile(path) as file:
            names, n_rows = file.schema_arrow.names, file.metadata.num_rows
            missing = sorted(set(columns or ()) - set(names))
            if missing:
                raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(names)}")
            if n_rows != rows:
                raise DataError(f"{path}: {n_rows} rows, but {split}.tsv lists {rows} records")
            yield file
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None


def read_meta_column(directory: str | os.PathLike, split: str, name: str) -> pa.ChunkedArray:
    """One column of a split's meta file, with the type of :data:`META_SCHEMA`; the store is not looked at.

    Raises:
        DataError: the file is missing, unreadable or lacks the column.
    """
    path = meta_path(directory, split)
    check_listed(path)
    try:
        table = pq.read_table(path, columns=[name])
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None
    if name not in table.column_names:
        raise DataError(f"{path}: no column {name}; write it again with the command that made it")
    return checked_meta(table, path)[name]


def meta_column_parts(directory: str | os.PathLike, split: str, name: str, rows: int = 1 << 16) -> Iterator[list[Any]]:
    """The values of :func:`read_meta_column`, at most ``rows`` at a time, so that files of any size take little memory.

    Raises:
        DataError: as there.
    """
    path = meta_path(directory, split)
    check_listed(path)
    try:
        with pq.ParquetFile(path) as file:
            if name not in file.schema_arrow.names:
                raise DataError(f"{path}: no column {name}; write it again with the command that made it")
            for batch in file.iter_batches(rows, columns=[name]):
                yield checked_meta(pa.Table.from_batches([batch]), path)[name].to_pylist()
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None


def checked_meta(table: pa.Table, path: Path) -> pa.Table:
    """The table with the types of :data:`META_SCHEMA` and :data:`OPTIONAL_SCHEMA`.

    Raises:
        DataError: a column cannot be read as what it should be, or lacks values it must have.
    """
    for number, name in enumerate(table.column_names):
        column = table[name]
        field = _FIELDS.get(name)
        if field is not None and column.type != field.type:
            try:
                table = table.set_column(number, field, column.cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(f"{path}, column {name}: {error}; write it again with the command that made it") from None
        if name in NEVER_NULL and column.null_count:
            raise DataError(f"{path}, column {name}: {column.null_count} values are missing; write it again")
    return table
