"""Packed recordings: shards ``records-00000.npy`` of int16 ``[n, 12, 5000]`` in digital units of 1/1000 mV, and ``store.json``.

Fixed-size rows in memory-mapped files make a random record one slice: no parsing, no per-record file, half the bytes
of float32. One unit is 1 microvolt, finer than the 4.88 microvolts of the usual recorders.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.directory.own_files import STORE_FILE
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.npy_header import read_header
from cmelt_plugin.data.store.open_shards import OpenShard, OpenShards, Prefetching, parts_of_few_shards
from cmelt_plugin.errors import DataError

__all__ = ["STORE_FILE", "RecordStore"]

FORMAT = 1
SAMPLE_RATE = 500  # Hz
N_SAMPLES = 5000  # 10 s
MV_PER_UNIT = 0.001
MAX_DIGITAL = 32767  # so that -x and x clip alike
ROW_SHAPE = (len(LEADS), N_SAMPLES)
ROW_BYTES = 2 * len(LEADS) * N_SAMPLES


def shard_name(index: int) -> str:
    """File name of a shard: ``records-00003.npy``."""
    return f"records-{index:05d}.npy"


def to_digital(ecg: np.ndarray) -> tuple[np.ndarray, int]:
    """Round millivolts to int16 units of 0.001 mV (error at most 0.5 microvolt).

    Args:
        ecg: any shape, finite, mV.

    Returns:
        int16 array of the same shape, and how many samples lay beyond 32.767 mV and were clipped.
    """
    digital = np.asarray(np.asarray(ecg, dtype=np.float64) / MV_PER_UNIT)
    np.rint(digital, out=digital)  # in place: fresh memory for every operation would take longer than the operations
    clipped = 0
    if digital.size and not (digital.max() <= MAX_DIGITAL and digital.min() >= -MAX_DIGITAL):
        clipped = int(np.count_nonzero(np.abs(digital) > MAX_DIGITAL))
        np.clip(digital, -MAX_DIGITAL, MAX_DIGITAL, out=digital)
    return digital.astype(np.int16), clipped


class RecordStore:
    """Random access to the recordings of a store.

    Shards are memory-mapped when they are read, in each process, and a bounded number of them stays so
    (:func:`cmelt_plugin.data.store.open_shards.most_open_shards`); an instance may be pickled or used after a fork.

    Args:
        root: folder with ``store.json``.

    Raises:
        DataError: ``store.json`` is missing, of another format, or describes other leads, rate or length.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root)
        path = self.root / STORE_FILE
        if not path.is_file():
            raise DataError(f"{path}: no such file; a manifest's first line must name the folder of packed records")
        info = read_json(path)
        expected = {
            "format": FORMAT,
            "unit": "mV",
            "sample_rate": SAMPLE_RATE,
            "n_samples": N_SAMPLES,
            "leads": list(LEADS),
        }
        for key, value in expected.items():
            if not isinstance(info, dict) or info.get(key) != value:
                actual = info.get(key) if isinstance(info, dict) else info
                raise DataError(f"{path}: {key} is {actual!r}, this version reads {value!r}; pack the records again")
        try:
            self.files, rows = _check_shards(info["shards"])
            self.rows = np.array(rows, dtype=np.int32)
            self.mv_per_unit = float(info["scale"])
            if type(info["scale"]) not in (int, float) or not 0 < self.mv_per_unit < math.inf:
                raise ValueError(f"scale {info['scale']!r}")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}: incomplete ({error!r}); pack the records again") from None
        self.leads, self.sample_rate, self.n_samples = LEADS, SAMPLE_RATE, N_SAMPLES
        self._shards = OpenShards()
        self._offsets: dict[int, int] = {}  # where the rows of shards that were checked begin
        self._prefetching = Prefetching()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": OpenShards(), "_offsets": {}, "_prefetching": Prefetching()}

    def read(self, shard: np.ndarray, row: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Read records as millivolts.

        Args:
            shard: int [n], numbers of shards in the order of ``store.json``.
            row: int [n], row within the shard.
            out: optional float32 [n, 12, 5000], C order, to write into.

        Returns:
            float32 [n, 12, 5000], mV.

        Raises:
            DataError: a shard is missing or truncated.
            IndexError: no such shard or row.
        """
        if out is None:
            out = np.empty((len(row), *ROW_SHAPE), dtype=np.float32)
        scale = np.float32(self.mv_per_unit)
        for target, record in zip(out, self._records(shard, row)):
            # Converted record by record, so that the scaling finds the numbers still in the processor's cache.
            np.copyto(target, record)
            np.multiply(target, scale, out=target)
        return out

    def read_digital(self, shard: np.ndarray, row: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Read without conversion: int16 [n, 12, 5000] in ``mv_per_unit``, half the bytes, for scaling on a GPU."""
        if out is None:
            out = np.empty((len(row), *ROW_SHAPE), dtype=np.int16)
        for target, record in zip(out, self._records(shard, row)):
            np.copyto(target, record)
        return out

    def _records(self, shard: np.ndarray, row: np.ndarray) -> Iterator[np.ndarray]:
        shard, row = np.asarray(shard), np.asarray(row)
        if ((row < 0) | (row >= self.rows[shard])).any():
            raise IndexError(f"{self.root}: no such row")
        shards, rows = shard.tolist(), row.tolist()
        prefetch = len(shards) > 1 and self._prefetching.pays()
        for part in parts_of_few_shards(shards, self._shards.most):
            yield from self._rows_of(shards[part], rows[part], prefetch)

    def _rows_of(self, shards: list[int], rows: list[int], prefetch: bool) -> Iterator[np.ndarray]:
        by_number = self._shards.get(set(shards), self._open)
        if prefetch:
            # All rows are asked for before the first is touched.
            for shard, row in zip(shards, rows):
                by_number[shard].prefetch(row)
        for shard, row in zip(shards, rows):
            yield by_number[shard].rows[row]

    def check(self, shards: Iterable[int]) -> None:
        """Raise DataError when one of these shards is missing or is not as long as it should be."""
        for shard in shards:
            self._check(int(shard))

    def _open(self, shard: int) -> OpenShard:
        offset = self._offsets.get(shard)
        if offset is None:
            offset = self._offsets[shard] = self._check(shard)
        try:
            with open(self.root / self.files[shard], "rb") as handle:
                data = mmap.mmap(handle.fileno(), offset + int(self.rows[shard]) * ROW_BYTES, access=mmap.ACCESS_READ)
        except (FileNotFoundError, ValueError):  # it was there and long enough when it was checked
            self._check(shard)
            raise
        return OpenShard(data, offset, ROW_SHAPE)

    def _check(self, shard: int) -> int:
        """Compare the shard's header and size with ``store.json``; return where its data begin, in bytes."""
        path = self.root / self.files[shard]
        expected = (int(self.rows[shard]), *ROW_SHAPE)
        try:
            with open(path, "rb") as handle:
                shape, fortran, dtype, offset = read_header(handle)
                size = os.fstat(handle.fileno()).st_size
        except FileNotFoundError:
            raise DataError(f"{path}: shard is missing; copy it here or pack the records again") from None
        except ValueError as error:
            raise DataError(f"{path}: not a shard ({error}); copy it again or pack the records again") from None
        if fortran or dtype != np.dtype("<i2") or shape != expected:
            raise DataError(f"{path}: holds {dtype} {shape}, {STORE_FILE} says int16 {expected}; pack again")
        if size != offset + expected[0] * ROW_BYTES:
            raise DataError(
                f"{path}: truncated: {size} bytes where {offset + expected[0] * ROW_BYTES} are expected; "
                "copy it again or pack the records again"
            )
        return offset


def _check_shards(shards: Any) -> tuple[list[str], list[int]]:
    """File names and rows of the shards listed in ``store.json``. Raises ValueError where they make no sense."""
    if not isinstance(shards, list):
        raise ValueError(f"shards are a {type(shards).__name__}, not a list")
    names = [shard["file"] for shard in shards]
    rows = [shard["rows"] for shard in shards]
    for name, count in zip(names, rows):
        if not isinstance(name, str) or name in ("", ".", "..") or any(mark in name for mark in "/\\\0\t\n:"):
            raise ValueError(f"shard {name!r:.80}: not a file name")
        if type(count) is not int or not 0 <= count <= np.iinfo(np.int32).max:
            raise ValueError(f"shard {name}: {count!r:.80} rows")
    if len(set(names)) < len(names):
        raise ValueError("a shard is listed twice")
    return names, rows
