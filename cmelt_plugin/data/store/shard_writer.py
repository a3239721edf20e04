"""Writing the shards and the ``store.json`` that :mod:`cmelt_plugin.data.store.record_store` reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cmelt_plugin.data.directory.own_files import STORE_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path, fingerprint, write_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.npy_rows import NpyRows
from cmelt_plugin.data.store.record_store import FORMAT, MV_PER_UNIT, N_SAMPLES, ROW_SHAPE, SAMPLE_RATE, shard_name, to_digital


class ShardWriter:
    """Appends rows to the shard file opened by :func:`write_shard`."""

    def __init__(self, handle: BinaryIO) -> None:
        self._rows = NpyRows(handle, np.int16, ROW_SHAPE)

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._rows.rows

    def append(self, digital: np.ndarray) -> int:
        """Add one int16 ``[12, 5000]`` row (see :func:`to_digital`) and return its number within the shard."""
        if digital.dtype != np.int16 or digital.shape != ROW_SHAPE:
            raise ValueError(f"expected an int16 array {ROW_SHAPE}, got {digital.dtype} {digital.shape}")
        return self._rows.append(digital)

    def finish(self) -> None:
        """Put the final row count into the header."""
        self._rows.finish()


@contextmanager
def write_shard(path: str | os.PathLike) -> Iterator[ShardWriter]:
    """Write one shard row by row, holding one row in memory; the file gets its name only when complete.

    Usage: ``with write_shard(root / shard_name(0)) as shard: row = shard.append(digital)``.
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
            "scale": MV_PER_UNIT,
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
                    digital, clipped = to_digital(record)
                    shard.append(digital)
                    clipped_records += clipped > 0
            shards.append(describe_shard(Path(root) / name, shard.rows))
        write_store_json(root, shards, clipped_records)
    index = np.arange(len(ecg), dtype=np.int32)
    return index // rows_per_shard, index % rows_per_shard
