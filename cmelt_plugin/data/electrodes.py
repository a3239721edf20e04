"""Electrodes of the limbs that were exchanged, told from the signal.

A device computes all six limb leads from the wrong places then, so that Einthoven's relations hold and say nothing. But the
chest leads, which keep their places, tell roughly what I and II must look like: Kors and van Herpen, "Accurate automatic
detection of electrode interchange in the electrocardiogram", Am J Cardiol 88:396 (2001). The coefficients here were fitted, by
least squares over the samples, to the 353 recordings of PTB-XL 1.0.3's folds 1 to 8 that were at hand; how often they are right
stands in docs/formats.md. An exchange of LA and LL changes too little to be found so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.plausibility import Reason, changing

CHEST = LEADS[6:]
FROM_CHEST = np.array(
    [
        [-0.455, 0.174, 0.072, -0.075, 0.144, 0.251],
        [-0.071, -0.063, 0.098, 0.104, 0.174, 0.267],
    ]
)
"""I and II from V1 … V6."""
BAND = (0.67, 40.0)
"""Hz; baseline and noise have nothing to do with where electrodes are."""
GAIN = 0.3
"""How much more of the power of I, II and III must be explained after an exchange: 0 of the 353 recordings reached it."""
FLAT = 0.1
"""Size of a lead between two legs, as a share of the larger of the others. The least of the 353 recordings was 0.21."""


def doubtful_electrodes(signal: np.ndarray, sample_rate: float, reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """``electrodes``, where two were probably exchanged; nothing where the leads cannot tell.

    Args:
        signal, sample_rate: as of :func:`exchanged_electrodes`.
        reasons: why the recording is doubtful already.
    """
    if not changing(signal).all() or any(reason.code == "lead-relations" for reason in reasons):
        return ()
    pair = exchanged_electrodes(signal, sample_rate)
    return (Reason("electrodes", f"the electrodes {pair} may be exchanged"),) if pair else ()


def exchanged_electrodes(signal: np.ndarray, sample_rate: float) -> str:
    """Which electrodes are probably exchanged, in words: "RA and LA"; "" where nothing speaks for it.

    Args:
        signal: ``[12, samples]``, mV, leads in the order of ``LEADS``, no sample missing.
        sample_rate: Hz.
    """
    samples = signal.shape[1]
    spectrum = np.fft.rfft(signal.astype(np.float64))
    hertz = np.fft.rfftfreq(samples, 1 / sample_rate)
    band = np.fft.irfft(spectrum * ((hertz >= BAND[0]) & (hertz <= BAND[1])), samples)
    limb = band[:3]
    sizes = np.sqrt((limb**2).mean(axis=1))
    if not sizes.max() > 0:
        return ""
    for lead, pair in ((1, "RA and RL"), (2, "LA and RL")):  # the legs have the same potential, nearly
        if sizes[lead] < FLAT * sizes.max():
            return pair
    expected = FROM_CHEST @ band[6:]
    expected = np.stack([*expected, expected[1] - expected[0]])
    explained = {pair: _explained(leads, expected) for pair, leads in _exchanges(*limb[:2]).items()}
    pair = max(explained, key=lambda name: explained[name])
    return pair if explained[pair] - explained[""] > GAIN else ""


def _exchanges(one: np.ndarray, two: np.ndarray) -> dict[str, np.ndarray]:
    """I, II and III as they are, and as they were if two electrodes are exchanged; potentials are those against RA."""
    right, left, foot = np.zeros_like(one), one, two
    places = {"": (right, left, foot), "RA and LA": (left, right, foot), "RA and LL": (foot, left, right)}
    return {pair: np.stack([left - right, foot - right, foot - left]) for pair, (right, left, foot) in places.items()}


def _explained(leads: np.ndarray, expected: np.ndarray) -> float:
    """Share of the power of ``leads`` that ``expected`` explains; below 0 where it is worse than nothing."""
    return float(1 - ((leads - expected) ** 2).sum() / (leads**2).sum())
