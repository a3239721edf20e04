"""ECGs of a manifest as mini-batches: the base of all data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from cmelt_plugin.data.batches.items import ItemDataset
from cmelt_plugin.data.batches.worker_memory import empty_batch
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore


class ECGDataset(ItemDataset):
    """ECGs of a manifest, and their labels where they have any.

    Args:
        manifest: the split.
        labels: float ``[n, classes]`` added to each batch, NaN = unknown; None: no labels.
    """

    def __init__(self, manifest: Manifest, labels: np.ndarray | None = None):
        super().__init__()
        self.manifest = manifest
        self.store = RecordStore(manifest.store_root)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def sizes(self) -> np.ndarray:
        return self.manifest.n_samples

    def num_tokens(self, index: int) -> int:
        return int(self.manifest.n_samples[index])

    def size(self, index: int) -> int:
        return int(self.manifest.n_samples[index])

    def read_ecg(self, rows: np.ndarray, digital: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``[B, 12, 5000]`` float32 mV, or int16 as stored, and real samples ``[B]`` where any record is padded, else None."""
        ecg = empty_batch((len(rows), *ROW_SHAPE), torch.int16 if digital else torch.float32)
        read = self.store.read_digital if digital else self.store.read
        read(self.manifest.shard[rows], self.manifest.row[rows], out=ecg.numpy())
        n_samples = self.manifest.n_samples[rows]
        padded = (n_samples < ecg.shape[-1]).any()
        return ecg, torch.from_numpy(n_samples.astype(np.int64)) if padded else None

    def collater(self, samples: Sequence[Any] | np.ndarray, digital: bool = False) -> dict[str, Any]:
        """Row numbers → mini-batch: ``id [B]``, ``net_input`` (``ecg``, ``n_samples``), counts, ``labels`` where there are any.

        With ``digital``, as the tasks want it, the ECGs are int16 as stored, half the bytes on the way to a GPU;
        :func:`cmelt_plugin.data.millivolts.batch_in_mv` turns them into mV there, by ``mv_per_unit`` of the batch.
        """
        if len(samples) == 0:
            return {}
        rows = np.asarray(samples, dtype=np.int64)
        ecg, n_samples = self.read_ecg(rows, digital)
        batch: dict[str, Any] = {
            "id": torch.from_numpy(rows),
            "net_input": {"ecg": ecg, "n_samples": n_samples},
            "nsentences": len(rows),
            "nsignals": len(rows),
            "ntokens": len(rows),
        }
        if digital:
            batch["mv_per_unit"] = self.store.mv_per_unit
        if self.labels is not None:
            batch["labels"] = torch.from_numpy(np.asarray(self.labels[rows], dtype=np.float32))
        return batch

    collator = collater  # fairseq-signals' spelling
