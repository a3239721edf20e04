"""The recordings of a split in batches, in order, read ahead of the model that goes over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cmelt_plugin.data.batches.worker_memory import empty_batch
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.millivolts import to_mv
from cmelt_plugin.data.store.read_ahead import read_ahead
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore


class RecordBatches(Dataset):
    """Batches of consecutive records of a split: ``(ecg [B, 12, 5000], n_samples int64 [B] or None where none is padded)``.

    Args:
        manifest: the split.
        batch_size: records at a time.
        digital: ``ecg`` is int16 as stored, half the bytes; otherwise float32 mV.
        pinned: in memory that a GPU can copy from while the host goes on.
    """

    def __init__(self, manifest: Manifest, batch_size: int, digital: bool = False, pinned: bool = False) -> None:
        self.manifest, self.batch_size, self.digital, self.pinned = manifest, batch_size, digital, pinned
        self.store = RecordStore(manifest.store_root)

    def __len__(self) -> int:
        return -(-len(self.manifest) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | None]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        n_samples = torch.from_numpy(self.manifest.n_samples[rows].astype(np.int64))
        padded = bool((n_samples < ROW_SHAPE[1]).any())
        dtype = torch.int16 if self.digital else torch.float32
        shape = (len(n_samples), *ROW_SHAPE)
        ecg = torch.empty(shape, dtype=dtype, pin_memory=True) if self.pinned else empty_batch(shape, dtype)
        read = self.store.read_digital if self.digital else self.store.read
        read(self.manifest.shard[rows], self.manifest.row[rows], out=ecg.numpy())
        return ecg, n_samples if padded else None


def record_batches(
    manifest: Manifest, batch_size: int, device: str | torch.device = "cpu", workers: int = 0
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """All records of a split on a device: ``ecg`` float32 ``[B, 12, 5000]`` mV and real samples ``[B]``, None: all are.

    The next batches are read while the caller works. A GPU gets the numbers as they are stored, from pinned memory, and
    scales them itself; the values are the same.

    Args:
        manifest: the split.
        batch_size: records at a time.
        device: where the batches are wanted.
        workers: processes that read; 0: a thread.

    Raises:
        DataError: unreadable records.
    """
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    batches = RecordBatches(manifest, batch_size, digital=on_gpu, pinned=on_gpu and not workers)
    source: Iterator[Any]
    if workers:
        source = iter(DataLoader(batches, batch_size=None, num_workers=workers, pin_memory=on_gpu))
    else:
        source = read_ahead(batches.__getitem__, len(batches))
    for ecg, n_samples in source:
        ecg = to_mv(ecg.to(device, non_blocking=True), batches.store.mv_per_unit)
        yield ecg, None if n_samples is None else n_samples.to(device)
