"""Manifests: which records of a store make up a split, and what is known about each.

``train.tsv`` is fairseq's format: the first line is the root of the store ("." and relative paths count from the
manifest's own folder), then one line per record, ``records-00003.npy:17<TAB>5000`` = shard file, row, real samples.
``train.meta.parquet`` has one row per line of it; ``train.labels.npy`` one row of labels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from cmelt_plugin.data.directory.checksums import check_listed, check_whole, is_listed
from cmelt_plugin.data.directory.own_files import LABELS_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path, read_object
from cmelt_plugin.data.store.memory_maps import blocks
from cmelt_plugin.data.store.npy_files import read_npy
from cmelt_plugin.data.store.record_store import N_SAMPLES, RecordStore
from cmelt_plugin.data.store.ties import check_store_tie
from cmelt_plugin.data.text.reports import REPORTS_FILE, count_reports
from cmelt_plugin.errors import DataError

__all__ = ["LABELS_FILE", "META_SCHEMA", "Manifest", "available_splits", "read_class_names", "read_meta_column", "write_split"]

BLOCK_BYTES = 1 << 20

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
NEVER_NULL = ("record_id", "subject_id", "report_id")


def available_splits(directory: str | os.PathLike) -> list[str]:
    """Names of the splits in a manifest directory: those with a TSV and a meta file.

    Raises:
        DataError: its files are being replaced.
    """
    check_whole(directory)
    names = (path.name[: -len(".meta.parquet")] for path in Path(directory).glob("*.meta.parquet"))
    return sorted(name for name in names if (Path(directory) / f"{name}.tsv").is_file())


@dataclass(frozen=True)
class Manifest:
    """One split, as arrays with one entry per record, in the smallest of int16 and int32 that holds the store's numbers."""

    directory: Path
    split: str
    store_root: Path
    shard: np.ndarray
    """int16 or int32 [n], number of the shard in the store's ``store.json``."""
    row: np.ndarray
    """int16 or int32 [n], row within the shard."""
    n_samples: np.ndarray
    """int16 [n], real samples; the rest of the row is zero."""

    @classmethod
    def open(cls, directory: str | os.PathLike, split: str) -> Manifest:
        """Read ``SPLIT.tsv`` and check it against the store it points to.

        Raises:
            DataError: the file or its store is missing or has changed since it was written, the store is not the one the
                directory was made over, a line is malformed or points outside the store, or a shard it needs is missing
                or truncated. The message names the file and the line.
        """
        directory = Path(directory)
        check_whole(directory)
        path = directory / f"{split}.tsv"
        if not path.is_file():
            known = ", ".join(available_splits(directory)) or "none"
            raise DataError(f"{path}: no such file (splits in this folder: {known})")
        lines = _count_lines(path)
        store_root = directory / _read_root(path)
        try:
            store = RecordStore(store_root)
        except (DataError, OSError) as error:
            raise DataError(f"{path}, line 1: {error}") from None
        check_store_tie(directory, store_root)
        shard, row, n_samples = _parse(path, store, lines)
        pa.default_memory_pool().release_unused()
        try:
            store.check(np.unique(shard))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        return cls(directory, split, store_root, shard, row, n_samples)

    def __len__(self) -> int:
        return len(self.row)

    def meta(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Columns of ``SPLIT.meta.parquet`` (all when None); see :data:`META_SCHEMA`.

        Raises:
            DataError: the file is missing, lacks a column, or has not one row per record.
        """
        with self._open_meta(columns) as file:
            table = file.read() if columns is None else file.read(columns=list(columns)).select(list(columns))
            return _checked_meta(table, file_path=self._meta_path)

    def report_ids(self) -> np.ndarray:
        """int32 [n]: row of ``reports.parquet`` of each record, -1 = no report.

        Raises:
            DataError: like :meth:`meta`, or there is no such report.
        """
        ids, start = np.empty(len(self), dtype=np.int32), 0
        with self._open_meta(["report_id"]) as file:
            for group in range(file.num_row_groups):
                part = file.read_row_group(group, columns=["report_id"], use_threads=False)
                values = _checked_meta(part, self._meta_path)["report_id"].to_numpy()
                ids[start : start + len(values)] = values
                start += len(values)
                del part, values
        pa.default_memory_pool().release_unused()
        reports = self.directory / REPORTS_FILE
        limit = count_reports(reports) if reports.is_file() else np.iinfo(np.int32).max
        if len(ids) and not (ids.min() >= -1 and ids.max() < limit):
            odd = int(((ids < -1) | (ids >= limit)).argmax())
            raise DataError(
                f"{self._meta_path}, row {odd}: report_id {ids[odd]}, but there are {limit} reports; write it again"
            )
        return ids

    @property
    def _meta_path(self) -> Path:
        return self.directory / f"{self.split}.meta.parquet"

    @contextmanager
    def _open_meta(self, columns: Sequence[str] | None) -> Iterator[pq.ParquetFile]:
        """The meta file, if it has these columns and one row per record."""
        path = self._meta_path
        if not path.is_file():
            raise DataError(f"{path}: no such file; it belongs beside {self.split}.tsv")
        check_listed(path)
        try:
            with pq.ParquetFile(path) as file:
                known, rows = file.schema_arrow.names, file.metadata.num_rows
                missing = sorted(set(columns or ()) - set(known))
                if missing:
                    raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(known)}")
                if rows != len(self):
                    raise DataError(f"{path}: {rows} rows, but {self.split}.tsv lists {len(self)} records")
                yield file
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None

    def labels(self) -> tuple[np.ndarray, list[str]] | None:
        """Labels of the split, uint8 or float32 [n, classes] with NaN = unknown, and the class names; None without.

        Raises:
            DataError: the array is missing though listed, unreadable, does not match the split or ``labels.json``, or holds
                another value than 0, 1 and NaN.
        """
        path = self.directory / f"{self.split}.labels.npy"
        if not path.is_file() and not is_listed(path):
            return None
        names = read_class_names(self.directory)
        check_listed(path)
        try:
            values = read_npy(path)
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: unreadable ({error}); write it again with preprocess/labels.py") from None
        if values.shape != (len(self), len(names)) or values.dtype not in (np.uint8, np.float32):
            raise DataError(
                f"{path}: {values.dtype} {values.shape}, expected uint8 or float32 ({len(self)} records of "
                f"{self.split}.tsv, {len(names)} classes of {LABELS_FILE})"
            )
        for start, part in blocks(values):
            wrong = ~((part == 0) | (part == 1) | (part != part))
            if wrong.any():
                row, column = (int(index[0]) for index in np.nonzero(wrong))
                raise DataError(
                    f"{path}, row {start + row}, class {names[column]}: {part[row, column]:g}; labels are 1 (present), "
                    "0 (absent) or NaN (unknown). Write them again with preprocess/labels.py"
                )
        return values, names


def write_split(
    directory: str | os.PathLike,
    split: str,
    files: Sequence[str],
    shard: np.ndarray,
    row: np.ndarray,
    n_samples: np.ndarray,
    meta: pa.Table,
    root: str = ".",
) -> None:
    """Write ``SPLIT.tsv`` and ``SPLIT.meta.parquet``.

    Args:
        directory: manifest directory.
        split: "train", "valid", "test" or another name.
        files: shard file names in the order of ``store.json``.
        shard: int [n], index into ``files``.
        row: int [n], row within the shard.
        n_samples: int [n], real samples.
        meta: n rows with the columns of :data:`META_SCHEMA`.
        root: first line of the TSV: the store's folder, relative to ``directory`` or absolute.
    """
    if not len(shard) == len(row) == len(n_samples) == len(meta):
        raise ValueError(f"unequal lengths: {len(shard)}, {len(row)}, {len(n_samples)}, {len(meta)}")
    tsv, parquet = Path(directory) / f"{split}.tsv", Path(directory) / f"{split}.meta.parquet"
    with replacing(directory, [tsv.name, parquet.name]):
        with atomic_path(parquet) as temporary:
            pq.write_table(meta.select(META_SCHEMA.names).cast(META_SCHEMA), temporary)
        with atomic_path(tsv) as temporary:
            with open(temporary, "w", encoding="utf-8", newline="\n") as handle:
                handle.write(f"{root}\n")
                columns = (np.asarray(values).tolist() for values in (shard, row, n_samples))
                handle.writelines(f"{files[s]}:{r}\t{n}\n" for s, r, n in zip(*columns))


def read_class_names(directory: str | os.PathLike) -> list[str]:
    """The classes of a labelled directory, in the order of the labels' columns.

    Raises:
        DataError: ``labels.json`` is missing or unreadable, or its names are not different texts.
    """
    path = Path(directory) / LABELS_FILE
    names = read_object(path).get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f'{path}: "names" must be a list of class names; write it again with preprocess/labels.py')
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: a class is named twice: {twice}; write it again with preprocess/labels.py")
    return names


def read_meta_column(directory: str | os.PathLike, split: str, name: str) -> pa.ChunkedArray:
    """One column of a split's meta file, with the type of :data:`META_SCHEMA`; the store is not looked at.

    Raises:
        DataError: the file is missing, unreadable or lacks the column.
    """
    path = Path(directory) / f"{split}.meta.parquet"
    check_listed(path)
    try:
        table = pq.read_table(path, columns=[name])
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None
    if name not in table.column_names:
        raise DataError(f"{path}: no column {name}; write it again with the command that made it")
    return _checked_meta(table, path)[name]


def _checked_meta(table: pa.Table, file_path: Path) -> pa.Table:
    """The table with the types of :data:`META_SCHEMA`.

    Raises:
        DataError: a column cannot be read as what it should be, or lacks values it must have.
    """
    for number, name in enumerate(table.column_names):
        column = table[name]
        if name in META_SCHEMA.names and column.type != META_SCHEMA.field(name).type:
            try:
                table = table.set_column(number, META_SCHEMA.field(name), column.cast(META_SCHEMA.field(name).type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(f"{file_path}, column {name}: {error}; write it again with the command that made it") from None
        if name in NEVER_NULL and column.null_count:
            raise DataError(f"{file_path}, column {name}: {column.null_count} values are missing; write it again")
    return table


def _read_root(path: Path) -> str:
    """First line of a TSV."""
    with open(path, "rb") as handle:
        line = handle.readline(1 << 16).rstrip(b"\r\n")
    try:
        root = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line 1: not UTF-8 ({error}); write it again with the command that made it") from None
    if not root or "\t" in root or "\0" in root:
        raise DataError(f"{path}, line 1: expected the root folder of the store")
    return root


def _parse(path: Path, store: RecordStore, lines: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shard number, row and real samples of every line, without a Python object per line, a few megabytes at a time."""
    limits = (len(store.files), store.rows.max(initial=0), N_SAMPLES)
    types = [np.int16 if limit <= np.iinfo(np.int16).max else np.int32 for limit in limits]
    files = pa.array(store.files, pa.string())
    # Pages of these arrays that no line is written to take no memory.
    columns = [np.empty(lines, dtype=dtype) for dtype in types]
    start = 0
    try:
        lines = pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(
                skip_rows=1, column_names=["place", "n_samples"], block_size=BLOCK_BYTES, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"place": pa.string(), "n_samples": pa.int32()}, null_values=[], strings_can_be_null=False
            ),
        )
        for block in lines:
            pieces = pc.list_flatten(pc.split_pattern(block.column(0), ":"))
            if len(pieces) != 2 * len(block):
                _explain(path, store)
            name = pieces.take(pa.array(np.arange(0, len(pieces), 2)))
            row = pieces.take(pa.array(np.arange(1, len(pieces), 2))).cast(pa.int32()).to_numpy()
            shard = pc.index_in(name, files).fill_null(-1).to_numpy()
            n_samples = block.column(1).to_numpy()
            outside = (shard < 0) | (row < 0) | (row >= store.rows[shard]) | (n_samples < 1) | (n_samples > N_SAMPLES)
            if outside.any():
                _explain(path, store)
            for column, values in zip(columns, (shard, row, n_samples)):
                column[start : start + len(block)] = values
            start += len(block)
    except MemoryError:
        raise
    except pa.ArrowException:
        _explain(path, store)
    if start == 0:
        _explain(path, store)
    return columns[0][:start], columns[1][:start], columns[2][:start]


def _count_lines(path: Path) -> int:
    """As many lines as the file can have at most; in the same pass it is compared with its checksum."""
    digest, lines = hashlib.sha256() if is_listed(path) else None, 1
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            lines += block.count(b"\n") + block.count(b"\r")
            if digest is not None:
                digest.update(block)
    if digest is not None:
        check_listed(path, "sha256:" + digest.hexdigest())
    return lines


def _explain(path: Path, store: RecordStore) -> NoReturn:
    """Find the first bad line of a manifest that could not be used, and say what is wrong with it."""
    rows = dict(zip(store.files, store.rows.tolist()))
    number = 1
    with open(path, encoding="utf-8", errors="replace") as handle:
        next(handle)
        for number, line in enumerate(handle, start=2):
            where = f"{path}, line {number}"
            place, tab, samples = line.rstrip("\r\n").partition("\t")
            name, colon, row = place.partition(":")
            if not (tab and colon and _is_number(row) and _is_number(samples)):
                raise DataError(f"{where}: expected 'SHARD:ROW<TAB>SAMPLES', found {line.rstrip()[:80]!r}")
            if name not in rows:
                raise DataError(f"{where}: shard {name} is not in {store.root / 'store.json'}")
            if int(row) >= rows[name]:
                raise DataError(f"{where}: row {row} of {name}, which has {rows[name]} rows")
            if not 1 <= int(samples) <= N_SAMPLES:
                raise DataError(f"{where}: {samples} samples, expected 1 to {N_SAMPLES}")
    if number == 1:
        raise DataError(f"{path}: lists no records")
    raise DataError(f"{path}: malformed")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
