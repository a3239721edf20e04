"""From one sample rate to another, such as the 500 Hz of every array of this project."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np

from cmelt_plugin.data.store.record_store import SAMPLE_RATE

RATES = (50.0, 20000.0)  # Hz; anything else is a mistake


def resample(ecg: np.ndarray, rate: float, to: float = SAMPLE_RATE) -> np.ndarray:
    """Resample ``[..., samples]`` from ``rate`` Hz to ``to`` Hz with a polyphase anti-aliasing filter.

    The ratio is that of the rates, so that heart rate and intervals stay what they were. The ends are continued along
    the line through the first and last sample, because zeros would ring on a lead whose baseline is not zero.
    """
    ratio = Fraction(to / rate).limit_denominator(10000)
    if ratio == 1:
        return ecg
    from scipy.signal import resample_poly  # takes as long to import as torch does, and most recordings do not need it

    coefficients = _low_pass(max(ratio.numerator, ratio.denominator)).astype(ecg.dtype)
    return resample_poly(ecg, ratio.numerator, ratio.denominator, axis=-1, padtype="line", window=coefficients)


@functools.lru_cache(maxsize=16)
def _low_pass(factor: int) -> np.ndarray:
    """The filter that ``resample_poly`` would design again for every recording, which takes longer than to apply it."""
    from scipy.signal import firwin

    return firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0))
