"""Recordings made worse by known amounts, and the uncertainty of a model at each: added noise, and leads that are lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.evaluation.embedding.passes import evaluating, over_records

SNR = (24.0, 18.0, 12.0, 6.0, 0.0)
"""dB of added noise, rising disturbance."""
LOST = (1, 3, 6, 9)
"""Leads that are lost, of twelve."""
NOISE, LEADS_LOST = "noise", "lost_leads"


def with_noise(ecg: Tensor, noise: Tensor, snr: float, n_samples: Tensor | None = None) -> Tensor:
    """Add white noise of the same power in every lead.

    Args:
        ecg: ``[B, L, T]`` mV.
        noise: ``[B, L, T]``, of unit variance.
        snr: dB, power of the whole record without its leads' means over that of the noise.
        n_samples: ``[B]`` real samples, beyond which everything stays zero; None: all are real.
    """
    real = torch.ones_like(ecg[:, :1])
    if n_samples is not None:
        real = (torch.arange(ecg.shape[2], device=ecg.device) < n_samples[:, None, None]).to(ecg.dtype)
    length = real.sum(dim=2, keepdim=True).clamp(min=1)
    centred = (ecg - (ecg * real).sum(dim=2, keepdim=True) / length) * real
    power = (centred.square().sum(dim=2, keepdim=True) / length).mean(dim=1, keepdim=True)
    return ecg + noise * real * power.sqrt() * 10 ** (-snr / 20)


def without_leads(ecg: Tensor, order: Tensor, count: int) -> Tensor:
    """``ecg [B, L, T]`` with the first ``count`` leads of each record's ``order [B, L]`` at zero, as lost leads are served."""
    lost = torch.zeros(ecg.shape[:2], dtype=torch.bool, device=ecg.device).scatter(1, order[:, :count], True)
    return ecg.masked_fill(lost.unsqueeze(2), 0.0)


def disturbed_uncertainty(
    model: Any,
    manifest: Manifest,
    snr: Sequence[float] = SNR,
    lost: Sequence[int] = LOST,
    seed: int = 0,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    workers: int = 0,
    bf16: bool = False,
) -> dict[str, np.ndarray]:
    """The uncertainty of every record of a split as it is, and at rising levels of each disturbance.

    A record's noise and the order in which its leads are lost are drawn from the seed and its row alone; higher levels have
    more of the same noise, and lack more leads.

    Args:
        model: one of Gaussian embeddings; it is moved to ``device`` and back.
        manifest: the split.
        snr: dB, falling.
        lost: leads, rising.
        seed: of noise and order.
        batch_size, device, workers, bf16: as :func:`cmelt_plugin.evaluation.embedding.passes.over_records`.

    Returns:
        ``noise`` float32 ``[N, 1 + len(snr)]`` and ``lost_leads`` ``[N, 1 + len(lost)]``; the first column is that of the
        record as it is.
    """
    next_row = 0

    def encode(ecg: Tensor, n_samples: Tensor | None) -> dict[str, Tensor]:
        nonlocal next_row
        generators = [np.random.default_rng([seed, row]) for row in range(next_row, next_row + len(ecg))]
        next_row += len(ecg)
        order = torch.from_numpy(np.stack([generator.permutation(len(LEADS)) for generator in generators])).to(ecg.device)
        noise = np.stack([generator.standard_normal(ecg.shape[1:], dtype=np.float32) for generator in generators])

        def uncertainty(disturbed: Tensor) -> Tensor:
            return model.embed_ecg(disturbed, n_samples).uncertainty()

        added = torch.from_numpy(noise).to(ecg.device)
        clean = uncertainty(ecg)
        noisy = [uncertainty(with_noise(ecg, added, level, n_samples)) for level in snr]
        fewer = [uncertainty(without_leads(ecg, order, count)) for count in lost]
        return {NOISE: torch.stack([clean, *noisy], dim=1), LEADS_LOST: torch.stack([clean, *fewer], dim=1)}

    with evaluating(model, device):
        return over_records(encode, manifest, batch_size, device, workers, bf16)
