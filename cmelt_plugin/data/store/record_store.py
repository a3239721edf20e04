"""Packed recordings: shards ``records-00000.npy`` of int16 ``[n, 12, 5000]`` in steps of 1/1000 mV, and ``store.json``.

Fixed-size rows in memory-mapped files make a random record one slice: no parsing, no per-record file, half the bytes
of float32. The step of 1 microvolt is finer than the 4.88 microvolts of the usual recorders.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cmelt_plugin.data.directory.own_files import STORE_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path, fingerprint, read_json, write_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.npy_files import read_header
from cmelt_plugin.data.store.shard_maps import MappedShard, ShardMaps, parts_of_few
from cmelt_plugin.errors import DataError

try:
    import resource
except ImportError:  # not a Unix system
    resource = None

__all__ = [
    "MAX_STEP",
    "MV_PER_STEP",
    "N_SAMPLES",
    "ROW_BYTES",
    "ROW_SHAPE",
    "SAMPLE_RATE",
    "STORE_FILE",
    "RecordStore",
    "describe_shard",
    "shard_name",
    "to_steps",
    "write_records",
    "write_shard",
    "write_store_json",
]

FORMAT = 1
SAMPLE_RATE = 500  # Hz
N_SAMPLES = 5000  # 10 s
MV_PER_STEP = 0.001
MAX_STEP = 32767  # so that -x and x clip alike
QUIET_READS = 4
ROW_SHAPE = (len(LEADS), N_SAMPLES)
ROW_BYTES = 2 * len(LEADS) * N_SAMPLES


def shard_name(index: int) -> str:
    """File name of a shard: ``records-00003.npy``."""
    return f"records-{index:05d}.npy"


def to_steps(ecg: np.ndarray) -> tuple[np.ndarray, int]:
    """Round millivolts to int16 steps of 0.001 mV (error at most 0.5 microvolt).

    Args:
        ecg: any shape, finite, mV.

    Returns:
        int16 array of the same shape, and how many samples lay beyond 32.767 mV and were clipped.
    """
    steps = np.asarray(np.asarray(ecg, dtype=np.float64) / MV_PER_STEP)
    np.rint(steps, out=steps)  # in place: fresh memory for each step would take longer than the steps
    clipped = 0
    if steps.size and not (steps.max() <= MAX_STEP and steps.min() >= -MAX_STEP):
        clipped = int(np.count_nonzero(np.abs(steps) > MAX_STEP))
        np.clip(steps, -MAX_STEP, MAX_STEP, out=steps)
    return steps.astype(np.int16), clipped


class ShardWriter:
    """Appends rows to the shard file opened by :func:`write_shard`."""

    def __init__(self, handle: BinaryIO) -> None:
        self.rows = 0
        self._handle = handle
        self._write_header()

    def append(self, steps: np.ndarray) -> int:
        """Add one int16 ``[12, 5000]`` row (see :func:`to_steps`) and return its number within the shard."""
        if steps.dtype != np.int16 or steps.shape != ROW_SHAPE:
            raise ValueError(f"expected an int16 array {ROW_SHAPE}, got {steps.dtype} {steps.shape}")
        self._handle.write(np.ascontiguousarray(steps, dtype="<i2").data)
        self.rows += 1
        return self.rows - 1

    def finish(self) -> None:
        """Put the final row count into the header."""
        self._handle.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        # NumPy pads headers to a multiple of 64 bytes, so the final row count fits where the first header stood.
        header = {"descr": "<i2", "fortran_order": False, "shape": (self.rows, *ROW_SHAPE)}
        np.lib.format.write_array_header_1_0(self._handle, header)


@contextmanager
def write_shard(path: str | os.PathLike) -> Iterator[ShardWriter]:
    """Write one shard row by row, holding one row in memory; the file gets its name only when complete.

    Usage: ``with write_shard(root / shard_name(0)) as shard: row = shard.append(steps)``.
    """
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as handle:
            shard = ShardWriter(handle)
            yield shard
            shard.finish()


def write_store_json(root: str | os.PathLike, shards: Sequence[dict[str, Any]], clipped_records: int = 0) -> None:
    """Write ``store.json``, which names the shards and says what the numbers in them mean.

    Args:
        root: folder of the shards.
        shards: per shard ``{"file": name, "rows": int, "sha256": "sha256:..."}``, in the order of shard numbers.
        clipped_records: how many records held samples beyond 32.767 mV.
    """
    write_json(
        Path(root) / STORE_FILE,
        {
            "format": FORMAT,
            "unit": "mV",
            "scale": MV_PER_STEP,
            "sample_rate": SAMPLE_RATE,
            "n_samples": N_SAMPLES,
            "leads": list(LEADS),
            "clipped_records": clipped_records,
            "shards": list(shards),
        },
    )


def describe_shard(path: str | os.PathLike, rows: int) -> dict[str, Any]:
    """Entry of a finished shard for :func:`write_store_json`."""
    return {"file": Path(path).name, "rows": rows, "sha256": fingerprint(path)}


def write_records(root: str | os.PathLike, ecg: np.ndarray, rows_per_shard: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Write a whole store from an array that fits in memory.

    Args:
        root: folder to write to.
        ecg: [n, 12, 5000] mV, 500 Hz, leads in the order of :data:`LEADS`.
        rows_per_shard: rows a shard holds at most.

    Returns:
        shard int32 [n] and row int32 [n]: where each record lies.
    """
    shards, clipped_records = [], 0
    names = [shard_name(number) for number in range(-(-len(ecg) // rows_per_shard))]
    with replacing(root, [*names, STORE_FILE]):
        for name, start in zip(names, range(0, len(ecg), rows_per_shard)):
            with write_shard(Path(root) / name) as shard:
                for record in ecg[start : start + rows_per_shard]:
                    steps, clipped = to_steps(record)
                    shard.append(steps)
                    clipped_records += clipped > 0
            shards.append(describe_shard(Path(root) / name, shard.rows))
        write_store_json(root, shards, clipped_records)
    index = np.arange(len(ecg), dtype=np.int32)
    return index // rows_per_shard, index % rows_per_shard


class _ReadAhead:
    """Decides whether rows are asked for ahead: from a cold disk that is ten times as fast, from memory a third slower.

    Asking stops after ``QUIET_READS`` reads during which this thread waited for no page and read nothing from a disk, and
    begins again after the first that did.
    """

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None
        self._quiet = 0

    def pays(self) -> bool:
        """To be called once per read, before it."""
        if not hasattr(resource, "RUSAGE_THREAD"):
            return True
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        now = (usage.ru_majflt, usage.ru_inblock)  # pages waited for; blocks read, those asked for ahead included
        self._quiet = self._quiet + 1 if now == self._before else 0
        self._before = now
        return self._quiet < QUIET_READS


class RecordStore:
    """Random access to the recordings of a store.

    Shards are memory-mapped when they are read, in each process, and a bounded number of them stays so
    (:func:`cmelt_plugin.data.store.shard_maps.most_maps`); an instance may be pickled or used after a fork.

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
                found = info.get(key) if isinstance(info, dict) else info
                raise DataError(f"{path}: {key} is {found!r}, this version reads {value!r}; pack the records again")
        try:
            self.files, rows = _check_shards(info["shards"])
            self.rows = np.array(rows, dtype=np.int32)
            self.mv_per_step = float(info["scale"])
            if type(info["scale"]) not in (int, float) or not 0 < self.mv_per_step < math.inf:
                raise ValueError(f"scale {info['scale']!r}")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}: incomplete ({error!r}); pack the records again") from None
        self.leads, self.sample_rate, self.n_samples = LEADS, SAMPLE_RATE, N_SAMPLES
        self._maps = ShardMaps()
        self._offsets: dict[int, int] = {}  # where the rows of shards that were checked begin
        self._read_ahead = _ReadAhead()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": ShardMaps(), "_offsets": {}, "_read_ahead": _ReadAhead()}

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
        scale = np.float32(self.mv_per_step)
        for target, record in zip(out, self._records(shard, row)):
            # Converted record by record, so that the scaling finds the numbers still in the processor's cache.
            np.copyto(target, record)
            np.multiply(target, scale, out=target)
        return out

    def read_steps(self, shard: np.ndarray, row: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Read without conversion: int16 [n, 12, 5000] in ``mv_per_step``, half the bytes, for scaling on a GPU."""
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
        ask = len(shards) > 1 and self._read_ahead.pays()
        for part in parts_of_few(shards, self._maps.most):
            yield from self._mapped(shards[part], rows[part], ask)

    def _mapped(self, shards: list[int], rows: list[int], ask: bool) -> Iterator[np.ndarray]:
        maps = self._maps.get(set(shards), self._open)
        if ask:
            # All rows are asked for before the first is touched.
            for s, r in zip(shards, rows):
                maps[s].prefetch(r)
        for s, r in zip(shards, rows):
            yield maps[s].rows[r]

    def check(self, shards: Sequence[int]) -> None:
        """Raise DataError when one of these shards is missing or is not as long as it should be."""
        for shard in shards:
            self._check(int(shard))

    def _open(self, shard: int) -> MappedShard:
        offset = self._offsets.get(shard)
        if offset is None:
            offset = self._offsets[shard] = self._check(shard)
        try:
            with open(self.root / self.files[shard], "rb") as handle:
                data = mmap.mmap(handle.fileno(), offset + int(self.rows[shard]) * ROW_BYTES, access=mmap.ACCESS_READ)
        except (FileNotFoundError, ValueError):  # it was there and long enough when it was checked
            self._check(shard)
            raise
        return MappedShard(data, offset, ROW_SHAPE)

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
