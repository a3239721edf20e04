"""From one recording to one row of the store, or to the reason why it is left out.

Every reason begins with a stable code: ``leads``, ``units``, ``rate``, ``short``, ``nan``, ``zero`` or ``flat``; the
readers add ``missing``, ``truncated``, ``header`` and ``unreadable``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from cmelt_plugin.data.leads import LEADS, LeadError, lead_indices
from cmelt_plugin.data.store import N_SAMPLES, SAMPLE_RATE, to_steps

SECONDS = N_SAMPLES / SAMPLE_RATE
RATES = (50.0, 20000.0)  # Hz; anything else in a header is a mistake

# Millivolts per unit, by the lower-case unit. Both of Unicode's micro signs occur.
_MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "\u00b5v": 1e-3, "\u03bcv": 1e-3, "nv": 1e-6}


class Rejected(Exception):
    """A recording that cannot be used; ``str()`` gives ``code: what is wrong``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")


class Recording(NamedTuple):
    """A recording as its file holds it."""

    signal: np.ndarray
    """float [leads, samples], in ``units``; NaN where the file has no value."""
    leads: Sequence[str]
    units: Sequence[str]
    """One unit per lead."""
    rate: float
    """Hz."""


@dataclass(frozen=True)
class SignalOptions:
    """What is accepted and how recordings longer than 10 s are cut."""

    min_seconds: float = 5.0
    allow_flat_leads: int = 0
    crop: str = "start"
    """"start" keeps the first 10 s, "centre" the middle 10 s."""


class Row(NamedTuple):
    """A recording ready for the store."""

    steps: np.ndarray
    """int16 [12, 5000] in steps of 0.001 mV, zero-padded at the end."""
    n_samples: int
    """Real samples at 500 Hz."""
    clipped: int
    """Samples beyond 32.767 mV."""
    rate: float
    """Hz of the original."""


def to_row(recording: Recording, options: SignalOptions = SignalOptions()) -> Row:
    """Check a recording and bring it to 12 leads in canonical order, millivolts, 500 Hz and 10 s.

    Other rates are resampled by the ratio of the rates, so that heart rate and intervals stay what they were; then
    longer recordings are cut to 10 s and shorter ones padded with zeros at the end.

    Raises:
        Rejected: other than the 12 leads, an unknown unit or rate, fewer than ``min_seconds``, missing values, all
            zero, or more than ``allow_flat_leads`` leads that are constant over the part kept.
    """
    try:
        order = lead_indices(recording.leads)
    except LeadError as error:
        raise Rejected("leads", str(error)) from None
    if not RATES[0] <= recording.rate <= RATES[1]:
        raise Rejected("rate", f"{recording.rate:g} Hz")
    ecg = _crop(_millivolts(recording), recording.rate, options)[order]
    missing = ~np.isfinite(ecg)
    if missing.any():
        names = _lead_names(missing.any(axis=1))
        raise Rejected("nan", f"{int(missing.sum())} samples without a value in {names}")
    if not ecg.any():
        raise Rejected("zero", "every sample is zero")
    flat = ecg.max(axis=1) == ecg.min(axis=1)
    if flat.sum() > options.allow_flat_leads:
        raise Rejected("flat", f"constant in {_lead_names(flat)}")
    ecg = resample(ecg, recording.rate)[:, :N_SAMPLES]
    steps = np.zeros((len(LEADS), N_SAMPLES), dtype=np.int16)
    steps[:, : ecg.shape[1]], clipped = to_steps(ecg)
    return Row(steps, ecg.shape[1], clipped, recording.rate)


def resample(ecg: np.ndarray, rate: float) -> np.ndarray:
    """Resample ``[leads, samples]`` from ``rate`` Hz to 500 Hz with a polyphase anti-aliasing filter.

    The ends are continued along the line through the first and last sample, because zeros would ring on a lead whose
    baseline is not zero.
    """
    ratio = Fraction(SAMPLE_RATE / rate).limit_denominator(10000)
    if ratio == 1:
        return ecg
    return resample_poly(ecg, ratio.numerator, ratio.denominator, axis=1, padtype="line")


def _millivolts(recording: Recording) -> np.ndarray:
    factors = [_MILLIVOLTS.get(str(unit).strip().lower()) for unit in recording.units]
    for lead, unit, factor in zip(recording.leads, recording.units, factors):
        if factor is None:
            raise Rejected("units", f"lead {lead} is in {unit!r}, not in V, mV, uV or nV")
    if all(factor == 1.0 for factor in factors):
        return recording.signal
    return recording.signal * np.array(factors)[:, None]


def _crop(ecg: np.ndarray, rate: float, options: SignalOptions) -> np.ndarray:
    samples = ecg.shape[1]
    if samples < options.min_seconds * rate or samples == 0:
        raise Rejected("short", f"{samples / rate:.2f} s, at least {options.min_seconds:g} s are needed")
    keep = math.ceil(SECONDS * rate)
    start = max(0, (samples - keep) // 2) if options.crop == "centre" else 0
    return ecg[:, start : start + keep]


def _lead_names(which: np.ndarray) -> str:
    return ", ".join(lead for lead, chosen in zip(LEADS, which) if chosen)
