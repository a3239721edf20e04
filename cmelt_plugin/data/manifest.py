"""Manifests: which records of a store make up a split, and what is known about each.

``train.tsv`` is fairseq's format: the first line is the root of the store ("." and relative paths count from the
manifest's own folder), then one line per record, ``records-00003.npy:17<TAB>5000`` = shard file, row, real samples.
``train.meta.parquet`` has one row per line of it; ``train.labels.npy`` one row of labels.
"""

from __future__ import annotations

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

from cmelt_plugin.data.files import atomic_path, read_json
from cmelt_plugin.data.store import N_SAMPLES, RecordStore
from cmelt_plugin.errors import DataError

LABELS_FILE = "labels.json"
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


def available_splits(directory: str | os.PathLike) -> list[str]:
    """Names of the splits in a manifest directory: those with a TSV and a meta file."""
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
            DataError: the file or its store is missing, a line is malformed or points outside the store, or a shard it
                needs is missing or truncated. The message names the file and the line.
        """
        directory = Path(directory)
        path = directory / f"{split}.tsv"
        if not path.is_file():
            known = ", ".join(available_splits(directory)) or "none"
            raise DataError(f"{path}: no such file (splits in this folder: {known})")
        with open(path, encoding="utf-8") as handle:
            root = handle.readline().rstrip("\r\n")
        if not root or "\t" in root:
            raise DataError(f"{path}, line 1: expected the root folder of the store")
        store_root = directory if root == "." else directory / root
        try:
            store = RecordStore(store_root)
        except DataError as error:
            raise DataError(f"{path}, line 1: {error}") from None
        shard, row, n_samples = _parse(path, store)
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
            return file.read() if columns is None else file.read(columns=list(columns)).select(list(columns))

    def report_ids(self) -> np.ndarray:
        """int32 [n]: row of ``reports.parquet`` of each record, -1 = no report. Raises DataError like :meth:`meta`."""
        ids, start = np.empty(len(self), dtype=np.int32), 0
        with self._open_meta(["report_id"]) as file:
            for group in range(file.num_row_groups):
                values = file.read_row_group(group, columns=["report_id"], use_threads=False)["report_id"].to_numpy()
                ids[start : start + len(values)] = values
                start += len(values)
                del values
        pa.default_memory_pool().release_unused()
        return ids

    @contextmanager
    def _open_meta(self, columns: Sequence[str] | None) -> Iterator[pq.ParquetFile]:
        """The meta file, if it has these columns and one row per record."""
        path = self.directory / f"{self.split}.meta.parquet"
        if not path.is_file():
            raise DataError(f"{path}: no such file; it belongs beside {self.split}.tsv")
        try:
            with pq.ParquetFile(path) as file:
                known, rows = file.schema_arrow.names, file.metadata.num_rows
                missing = sorted(set(columns or ()) - set(known))
                if missing:
                    raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(known)}")
                if rows != len(self):
                    raise DataError(f"{path}: {rows} rows, but {self.split}.tsv lists {len(self)} records")
                yield file
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None

    def labels(self) -> tuple[np.ndarray, list[str]] | None:
        """Labels of the split, uint8 or float32 [n, classes] with NaN = unknown, and the class names; None without.

        Raises:
            DataError: the array is unreadable or does not match the split or ``labels.json``.
        """
        path = self.directory / f"{self.split}.labels.npy"
        if not path.is_file():
            return None
        names = read_json(self.directory / LABELS_FILE).get("names", [])
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{path}: unreadable ({error}); write it again with preprocess/labels.py") from None
        if values.shape != (len(self), len(names)) or values.dtype not in (np.uint8, np.float32):
            raise DataError(
                f"{path}: {values.dtype} {values.shape}, expected uint8 or float32 ({len(self)} records of "
                f"{self.split}.tsv, {len(names)} classes of {LABELS_FILE})"
            )
        return values, list(names)


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
    with atomic_path(Path(directory) / f"{split}.meta.parquet") as temporary:
        pq.write_table(meta.select(META_SCHEMA.names).cast(META_SCHEMA), temporary)
    with atomic_path(Path(directory) / f"{split}.tsv") as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as handle:
            handle.write(f"{root}\n")
            columns = (np.asarray(values).tolist() for values in (shard, row, n_samples))
            handle.writelines(f"{files[s]}:{r}\t{n}\n" for s, r, n in zip(*columns))


def _parse(path: Path, store: RecordStore) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shard number, row and real samples of every line, without a Python object per line, a few megabytes at a time."""
    limits = (len(store.files), store.rows.max(initial=0), N_SAMPLES)
    types = [np.int16 if limit <= np.iinfo(np.int16).max else np.int32 for limit in limits]
    files = pa.array(store.files, pa.string())
    # Pages of these arrays that no line is written to take no memory.
    columns = [np.empty(_count_lines(path), dtype=dtype) for dtype in types]
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
    except pa.ArrowException:
        _explain(path, store)
    if start == 0:
        _explain(path, store)
    return columns[0][:start], columns[1][:start], columns[2][:start]


def _count_lines(path: Path) -> int:
    """As many lines as the file can have at most."""
    with open(path, "rb") as handle:
        return 1 + sum(block.count(b"\n") + block.count(b"\r") for block in iter(lambda: handle.read(1 << 20), b""))


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
            if not (tab and colon and row.isdigit() and samples.isdigit()):
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
