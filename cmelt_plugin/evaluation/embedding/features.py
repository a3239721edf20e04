"""What linear probes are trained on: one pooled vector per record from a frozen ECG encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.passes import evaluating, over_records

FEATURES = "features"


def extract_features(
    model: Any,
    manifest: Manifest,
    pool: str | None = None,
    leads: Sequence[str] | None = None,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    num_workers: int = 0,
    progress: bool = True,
    bf16: bool = False,
) -> np.ndarray:
    """Pooled states of the ECG encoder for every record of a split, in eval mode, without masking.

    Args:
        model: an :class:`~cmelt_plugin.models.base.ECGModel`; it is moved to ``device`` and back.
        manifest: the split; padding of short records is masked.
        pool: one of the model's pools; None: the first of them.
        leads: the leads to use, the others are zero as in lead masking; None: all twelve.
        batch_size: records at a time.
        device: where to compute.
        num_workers: processes that read ahead; 0: a thread does.
        progress: show a bar on stderr.
        bf16: the encoder runs in bfloat16 autocast, otherwise in float32.

    Returns:
        float32 ``[N, D]``, rows in the manifest's order.

    Raises:
        DataError: unknown lead or pool, unreadable records, or a feature that is not finite.
    """
    pool = choose_pool(model, pool)

    def encode(ecg: Tensor, n_samples: Tensor | None) -> dict[str, Tensor]:
        return {FEATURES: model.ecg_features(ecg, n_samples, pool)}

    with evaluating(model, device):
        return over_records(encode, manifest, batch_size, device, num_workers, bf16, progress, leads)[FEATURES]


def choose_pool(model: Any, pool: str | None) -> str:
    """``pool``, or the model's first one.

    Raises:
        DataError: the model has no such pool.
    """
    if pool is not None and pool not in model.pools:
        raise DataError(f"pool must be one of {', '.join(model.pools)}, not {pool!r}")
    return pool or model.pools[0]
