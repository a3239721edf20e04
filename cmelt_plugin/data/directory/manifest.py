"""Manifests: which records of a store make up a split, and what is known about each.

A split is ``train.tsv`` (:mod:`.split_files`), ``train.meta.parquet`` (:mod:`.split_meta`) and, with classes,
``train.labels.npy`` (:mod:`.class_labels`); each has one row per record, in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from cmelt_plugin.data.directory.checksums import check_whole
from cmelt_plugin.data.directory.class_labels import read_labels
from cmelt_plugin.data.directory.split_files import count_lines, read_places, read_root
from cmelt_plugin.data.directory.split_meta import checked_meta, meta_path, open_meta
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.store.ties import check_store_tie
from cmelt_plugin.data.text.reports import REPORTS_FILE, count_reports
from cmelt_plugin.errors import DataError


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
        lines = count_lines(path)
        store_root = directory / read_root(path)
        try:
            store = RecordStore(store_root)
        except (DataError, OSError) as error:
            raise DataError(f"{path}, line 1: {error}") from None
        check_store_tie(directory, store_root)
        shard, row, n_samples = read_places(path, store, lines)
        pa.default_memory_pool().release_unused()
        try:
            store.check(np.unique(shard))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        return cls(directory, split, store_root, shard, row, n_samples)

    def __len__(self) -> int:
        return len(self.row)

    def meta(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Columns of ``SPLIT.meta.parquet`` (all when None); see :data:`cmelt_plugin.data.directory.split_meta.META_SCHEMA`.

        Raises:
            DataError: the file is missing, lacks a column, or has not one row per record.
        """
        with open_meta(self.directory, self.split, len(self), columns) as file:
            table = file.read() if columns is None else file.read(columns=list(columns)).select(list(columns))
            return checked_meta(table, self._meta_path)

    def report_ids(self) -> np.ndarray:
        """int32 [n]: row of ``reports.parquet`` of each record, -1 = no report.

        Raises:
            DataError: like :meth:`meta`, or there is no such report.
        """
        ids, start = np.empty(len(self), dtype=np.int32), 0
        with open_meta(self.directory, self.split, len(self), ["report_id"]) as file:
            for group in range(file.num_row_groups):
                part = file.read_row_group(group, columns=["report_id"], use_threads=False)
                values = checked_meta(part, self._meta_path)["report_id"].to_numpy()
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
        return meta_path(self.directory, self.split)

    def labels(self) -> tuple[np.ndarray, list[str]] | None:
        """Labels of the split, uint8 or float32 [n, classes] with NaN = unknown, and the class names; None without.

        Raises:
            DataError: as :func:`cmelt_plugin.data.directory.class_labels.read_labels`.
        """
        return read_labels(self.directory, self.split, len(self))
