"""How well a stretch of a recording can be read, as one number by which stretches of the same recording are ranked."""

from __future__ import annotations

import numpy as np

from cmelt_plugin.data.plausibility import HIGH, STANDING

BAND = (1.0, 40.0)
"""Hz; what an ECG is made of. Below lies the wandering of the baseline, above it the hum of mains and muscles."""
NOISE, BEATS = 3.0, 6.0
"""Kurtosis of Gaussian noise, and one from which on a lead has its share of spikes: a rhythm is flat between its beats."""


def quality_index(signal: np.ndarray, sample_rate: float) -> float:
    """Share of the power that lies in :data:`BAND`, times how far the kurtosis of that band is from noise; mean of the leads.

    A lead counts as nothing where it is constant, has a missing sample, stands at its largest or smallest value for more
    than 5 % of the time, or spans more than any heart makes.

    Args:
        signal: mV, ``[leads, samples]``.
        sample_rate: Hz.

    Returns:
        0 to 1. What it is worth was measured on PTB-XL's own annotations of noise (docs/formats.md).
    """
    good = _usable(signal)
    if not good.any():
        return 0.0
    leads = signal[good].astype(np.float64)
    samples = leads.shape[1]
    spectrum = np.fft.rfft(leads - leads.mean(axis=1, keepdims=True))
    hertz = np.fft.rfftfreq(samples, 1 / sample_rate)
    inside = (hertz >= BAND[0]) & (hertz < BAND[1])
    power = np.abs(spectrum) ** 2
    total = power[:, 1:].sum(axis=1)
    share = np.divide(power[:, inside].sum(axis=1), total, out=np.zeros(len(leads)), where=total > 0)
    band = np.fft.irfft(spectrum * inside, samples)
    variance = (band**2).mean(axis=1)
    kurtosis = np.divide((band**4).mean(axis=1), variance**2, out=np.full(len(leads), NOISE), where=variance > 0)
    return float((share * np.clip((kurtosis - NOISE) / (BEATS - NOISE), 0, 1)).sum() / len(signal))


def _usable(signal: np.ndarray) -> np.ndarray:
    """Which leads say anything: bool ``[leads]``."""
    high, low = signal.max(axis=1), signal.min(axis=1)  # NaN where a sample is missing
    span = high - low
    ends = np.maximum((signal == high[:, None]).mean(axis=1), (signal == low[:, None]).mean(axis=1))
    return (span > 0) & (span <= 2 * HIGH) & (ends <= STANDING)
