"""The reconstruction target of masked ECG modelling."""

from __future__ import annotations

import torch
from torch import Tensor


def standardise_leads(ecg: Tensor, n_samples: Tensor | None = None, epsilon: float = 1e-6) -> Tensor:
    """Zero mean and unit variance per record and lead, over real samples.

    Args:
        ecg: ``[B, leads, T]`` mV.
        n_samples: ``[B]`` real samples; None: all.
        epsilon: mV², added to the variance; a flat lead becomes zeros.

    Returns:
        ``[B, leads, T]`` float32, zero beyond the real samples.
    """
    ecg = ecg.float()
    if n_samples is None:
        variance, mean = torch.var_mean(ecg, dim=-1, keepdim=True, unbiased=True)
        return (ecg - mean) * (variance + epsilon).rsqrt()
    real = (torch.arange(ecg.shape[-1], device=ecg.device)[None, :] < n_samples[:, None]).unsqueeze(1)
    count = n_samples.view(-1, 1, 1).clamp(min=2)
    mean = (ecg * real).sum(-1, keepdim=True) / count
    centred = (ecg - mean) * real
    variance = centred.square().sum(-1, keepdim=True) / (count - 1)
    return centred * (variance + epsilon).rsqrt()


def patchify(ecg: Tensor, n_tokens: int, samples_per_token: int) -> Tensor:
    """``ecg [B, leads, T]`` → ``[B, N, leads × samples]``, lead-major; samples beyond N × samples_per_token are cut."""
    used = ecg[..., : n_tokens * samples_per_token]
    return used.unflatten(-1, (n_tokens, samples_per_token)).transpose(1, 2).flatten(2)


def unpatchify(patches: Tensor, n_leads: int) -> Tensor:
    """The inverse of :func:`patchify`: ``[B, N, leads × samples]`` → ``[B, leads, N × samples]``."""
    return patches.unflatten(-1, (n_leads, -1)).transpose(1, 2).flatten(2)
