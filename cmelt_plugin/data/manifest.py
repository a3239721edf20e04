"""Manifests: which records of a store make up a split, and what is known about each.

``train.tsv`` is fairseq's format: the first line is the root of the store ("." and relative paths count from the
manifest's own folder), then one line per record, ``records-00003.npy:17<TAB>5000`` = shard file, row, real samples.
``train.meta.parquet`` has one row per line of it; ``train.labels.npy`` one row of labels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    """One split, as arrays with one entry per record."""

    directory: Path
    split: str
    store_root: Path
    shard: np.ndarray
    """int32 [n], number of the shard in the store's ``store.json``."""
    row: np.ndarray
    """int32 [n], row within the shard."""
    n_samples: np.ndarray
    """int32 [n], real samples; the rest of the row is zero."""

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
        path = self.directory / f"{self.split}.meta.parquet"
        if not path.is_file():
            raise DataError(f"{path}: no such file; it belongs beside {self.split}.tsv")
        try:
            known = pq.read_schema(path).names
            missing = sorted(set(columns or ()) - set(known))
            if missing:
                raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(known)}")
            table = pq.read_table(path, columns=list(columns) if columns is not None else None)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: unreadable ({error}); write it again with the command that made it") from None
        if len(table) != len(self):
            raise DataError(f"{path}: {len(table)} rows, but {self.split}.tsv lists {len(self)} records")
        return table

    def report_ids(self) -> np.ndarray:
        """int32 [n]: row of ``reports.parquet`` of each record, -1 = no report. Raises DataError like :meth:`meta`."""
        return self.meta(["report_id"])["report_id"].to_numpy().astype(np.int32, copy=False)

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
    """Shard number, row and real samples of every line, without a Python object per line."""
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(skip_rows=1, column_names=["place", "n_samples"]),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"place": pa.string(), "n_samples": pa.int32()}, null_values=[], strings_can_be_null=False
            ),
        )
        parts = pc.split_pattern(table["place"].combine_chunks(), ":")
        pieces = pc.list_flatten(parts)
        if len(pieces) != 2 * len(table):
            _explain(path, store)
        name = pieces.take(pa.array(np.arange(0, len(pieces), 2)))
        row = pieces.take(pa.array(np.arange(1, len(pieces), 2))).cast(pa.int32()).to_numpy()
        shard = pc.index_in(name, pa.array(store.files, pa.string())).fill_null(-1).to_numpy()
        n_samples = table["n_samples"].to_numpy()
    except pa.ArrowException:
        _explain(path, store)
    outside = (shard < 0) | (row < 0) | (row >= store.rows[shard]) | (n_samples < 1) | (n_samples > N_SAMPLES)
    if len(row) == 0 or outside.any():
        _explain(path, store)
    return shard, row, n_samples.astype(np.int32, copy=False)


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
