"""What a system does to the amplitudes of a recording before its first layer reads it."""

from __future__ import annotations

import torch
from torch import Tensor

from cmelt_plugin.modules.ecg.length_batch_norm import real_steps, zero_padding

NONE, CENTRED, MIN_MAX = NORMALISATIONS = ("none", "centred", "min_max")


def normalise_ecg(ecg: Tensor, n_samples: Tensor | None, normalisation: str) -> Tensor:
    """``ecg [B, leads, T]`` mV → ``[B, leads, T]``; ``n_samples [B]`` real samples, None: all are.

    Args:
        normalisation: ``none`` (mV), ``centred`` (:func:`centred`, mV) or ``min_max`` (:func:`min_max`).

    Raises:
        ValueError: another ``normalisation``.
    """
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation must be one of {', '.join(NORMALISATIONS)}, not {normalisation!r}")
    if normalisation == NONE:
        return ecg
    return centred(ecg, n_samples) if normalisation == CENTRED else min_max(ecg, n_samples)


def centred(ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
    """Each lead minus its mean over the real samples, in mV: a constant offset of an electrode is not seen, amplitudes are.

    Padding becomes 0 and takes no part; a lead of one value becomes 0 up to rounding, one that is 0 throughout stays exactly 0.
    The mean is computed and subtracted in float32 at least, for in half precision an offset leaves few digits to deflections.
    """
    length = ecg.shape[-1]
    values = zero_padding(ecg.to(torch.promote_types(ecg.dtype, torch.float32)), n_samples)
    n_real = length if n_samples is None else n_samples.clamp(1, length)[:, None, None]
    return zero_padding(values - values.sum(-1, keepdim=True) / n_real, n_samples).to(ecg.dtype)


def min_max(ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
    """The smallest value of each record, over all leads and real samples, becomes 0 and the largest 1 (released MERL).

    Padding becomes 0 and takes no part; a record of one value becomes 0. The scale in mV, on which criteria of voltage rest,
    is lost, and one spike changes all leads.
    """
    low, high = ecg, ecg
    if n_samples is not None:
        padding = ~real_steps(n_samples, ecg.shape[-1])
        low, high = ecg.masked_fill(padding, float("inf")), ecg.masked_fill(padding, float("-inf"))
    low, high = low.amin((1, 2), keepdim=True), high.amax((1, 2), keepdim=True)
    varies = high > low
    low, span = torch.where(varies, low, ecg[:, :1, :1]), torch.where(varies, high - low, 1.0)
    return zero_padding((ecg - low) / span * varies, n_samples)
