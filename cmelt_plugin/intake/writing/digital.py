"""Millivolts as whole numbers again: the step of a lead is found in its values, so that no value is rounded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FINEST = 1e-6
"""mV; the step of leads whose values are multiples of nothing: resampled ones, or floating-point numbers of old."""
LEAST = 5e-6  # mV; no converter resolves less, and float32 hardly
AGREEMENT = 0.05
"""How far values may be from multiples of the step, as a share of it: single precision leaves that of large values."""
HIGHEST_16, HIGHEST_32 = (1 << 15) - 1, (1 << 31) - 1


class Digital(NamedTuple):
    """A signal in whole numbers."""

    counts: np.ndarray
    """int16 or int32 ``[leads, samples]``; the lowest number of the type where a sample is missing."""
    steps: np.ndarray
    """float64 ``[leads]``, mV a count."""

    @property
    def bits(self) -> int:
        return self.counts.dtype.itemsize * 8


def digitised(signal: np.ndarray) -> Digital:
    """A signal in as many steps as it has.

    Args:
        signal: float32 ``[leads, samples]``, mV; NaN = missing. At most 10,000 mV, as readers guarantee.
    """
    steps = np.array([step_of(row) for row in signal])
    # Never above: a step of 1 nV has room for 2 V in 32 bits.
    peaks = np.array([np.nanmax(np.abs(row), initial=0) for row in signal.astype(np.float64)])
    steps = np.maximum(steps, peaks / HIGHEST_32)
    counts = np.rint(signal / steps[:, None])
    kind = np.int16 if (peaks / steps).max() <= HIGHEST_16 else np.int32
    counts[np.isnan(counts)] = np.iinfo(kind).min
    return Digital(counts.astype(kind), steps)


def step_of(values: np.ndarray) -> float:
    """The largest step of which all values are multiples, mV; :data:`FINEST` where there is none."""
    levels = np.unique(values[np.isfinite(values)]).astype(np.float64)
    if len(levels) < 2:
        return abs(float(levels[0])) or 1e-3 if len(levels) else 1e-3
    gaps = np.diff(levels)
    smallest = gaps[gaps < 1.5 * gaps.min()].mean()
    if smallest < LEAST:
        return FINEST
    counts = np.rint(gaps / smallest).cumsum()
    step = float((counts * (levels[1:] - levels[0])).sum() / (counts**2).sum())
    for candidate in (step, step / 2):  # scales that are symmetric have their zero between two counts
        whole = np.rint(levels / candidate)
        fitted = float((whole * levels).sum() / (whole**2).sum())
        for rounded in (float(f"{fitted:.6g}"), fitted):
            multiples = levels / rounded
            if np.abs(multiples - np.rint(multiples)).max() <= AGREEMENT:
                return rounded
    return FINEST
