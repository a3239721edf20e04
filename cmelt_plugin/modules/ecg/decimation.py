"""A lower sample rate by a whole factor, on whole batches and where these are: SciPy's ``resample_poly`` of one recording."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn

OUT = 40  # resampled samples computed at once


def decimate(x: Tensor, factor: int) -> Tensor:
    """Low-pass (Kaiser window of β = 5, zeros beyond the ends), then every ``factor``-th sample, :data:`OUT` of them at once.

    Args:
        x: ``[B, leads, T]``, floating point.
        factor: how many samples become one; 1 changes nothing.

    Returns:
        ``[B, leads, ⌈T / factor⌉]``.
    """
    if factor == 1:
        return x
    matrix = _low_pass(factor, x.device, x.dtype)
    width, half = len(matrix), 10 * factor
    steps = -(-x.shape[-1] // factor)
    blocks = -(-steps // OUT)
    padded = nn.functional.pad(x, (half, (blocks - 1) * OUT * factor + width - half - x.shape[-1]))
    return (padded.unfold(-1, width, OUT * factor) @ matrix).flatten(-2)[..., :steps]


def kaiser_low_pass(factor: int) -> Tensor:
    """``scipy.signal.firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0))``, float64 and in float32 to the last bit,
    without the half second that importing ``scipy.signal`` takes of every prediction."""
    cut = 1 / factor
    samples = np.arange(-10 * factor, 10 * factor + 1)
    inside = torch.from_numpy(5.0 * np.sqrt(1 - (samples / (10 * factor)) ** 2))
    window = torch.special.i0(inside) / torch.special.i0(inside.new_tensor(5.0))
    taps = cut * np.sinc(cut * samples) * window.numpy()
    return torch.from_numpy(taps / taps.sum())


@functools.lru_cache(maxsize=8)
def _low_pass(factor: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The filter that SciPy's ``resample_poly`` designs for one sample out of ``factor``, once for each of :data:`OUT` samples
    that are computed at once: ``[samples read, OUT]``."""
    window = kaiser_low_pass(factor)
    matrix = torch.zeros((OUT - 1) * factor + len(window), OUT, dtype=window.dtype)
    for number in range(OUT):
        matrix[number * factor :][: len(window), number] = window
    return matrix.to(device, dtype)
