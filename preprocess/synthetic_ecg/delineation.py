"""Simple measurements of an electrocardiogram: complexes, the median beat, intervals, amplitudes of each lead, axis.

For statistics over many recordings, real or synthetic; a single recording may be measured wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import butter, find_peaks, sosfiltfilt

RATE = 500
"""Hz that all functions expect."""
BEFORE, AFTER = 0.30, 0.55
"""Seconds of a median beat before and after the reference point of its complex."""


@dataclass(frozen=True)
class Delineated:
    """One recording.

    ``complexes`` are samples of the reference points; ``beat`` is the median beat ``[12, T]`` mV with level PR segment;
    ``onset``, ``offset`` and ``t_end`` are samples in it; ``p_onset`` is −1 where no P wave was found.
    """

    complexes: np.ndarray
    beat: np.ndarray
    p_onset: int
    onset: int
    offset: int
    t_end: int


def find_complexes(ecg: np.ndarray) -> np.ndarray:
    """Samples of the complexes of ``[12, T]`` mV, from the slopes of all leads."""
    smooth = sosfiltfilt(butter(2, (5, 35), "bandpass", fs=RATE, output="sos"), ecg, axis=1)
    energy = np.sqrt(uniform_filter1d((np.gradient(smooth, axis=1) ** 2).sum(axis=0), 40))
    threshold = 0.38 * np.quantile(energy, 0.99)
    return find_peaks(energy, height=threshold, distance=int(0.24 * RATE))[0]


def delineate(ecg: np.ndarray) -> Delineated | None:
    """Measure ``[12, T]`` mV at 500 Hz; None where fewer than three complexes lie well inside."""
    ecg = np.asarray(ecg, dtype=np.float64)
    complexes = find_complexes(ecg)
    first, last = int(BEFORE * RATE), int(AFTER * RATE)
    whole = complexes[(complexes >= first) & (complexes + last <= ecg.shape[1])]
    if len(whole) < 3:
        return None
    windows = np.stack([ecg[:, c - first : c + last] for c in whole])
    windows = windows - windows[:, :, first - 60 : first - 20].mean(axis=2, keepdims=True)
    beat = np.median(windows, axis=0)
    onset, offset = _complex_edges(beat, first)
    beat = beat - np.median(beat[:, max(onset - 8, 0) : max(onset - 1, 1)], axis=1, keepdims=True)
    return Delineated(complexes, beat, _p_onset(beat, onset), onset, offset, _t_end(beat, offset))


def _complex_edges(beat: np.ndarray, centre: int) -> tuple[int, int]:
    slope = np.sqrt((np.gradient(uniform_filter1d(beat, 3, axis=1), axis=1) ** 2).mean(axis=0))
    quiet = np.quantile(slope[: centre - 20], 0.3)
    threshold = quiet + 0.09 * (slope[centre - 40 : centre + 50].max() - quiet)
    onset = offset = centre
    for start in range(centre - 75, centre + 10):  # five samples in a row above the threshold
        if (slope[start : start + 5] > threshold).all():
            onset = start
            break
    for stop in range(centre + 90, centre - 10, -1):
        if (slope[stop - 5 : stop] > threshold).all():
            offset = stop
            break
    return onset, offset


def _p_onset(beat: np.ndarray, onset: int) -> int:
    lead = beat[1] - median_filter(beat[1], 151)
    part = np.abs(lead[: max(onset - 12, 1)])
    peak = int(part.argmax())
    if part[peak] < 0.035 or peak < 12:
        return -1
    below = np.flatnonzero(part[:peak] < 0.15 * part[peak])
    return int(below[-1]) if len(below) else -1


def _t_end(beat: np.ndarray, offset: int) -> int:
    wave = np.sqrt((beat[[0, 1, 6, 7, 8, 9, 10, 11]] ** 2).mean(axis=0))
    start = offset + 30
    if start + 20 >= beat.shape[1]:
        return beat.shape[1] - 1
    peak = start + int(wave[start : beat.shape[1] - 10].argmax())
    slope = np.gradient(uniform_filter1d(wave, 9))
    steepest = peak + int(slope[peak:].argmin())
    if slope[steepest] >= 0:
        return beat.shape[1] - 1
    base = wave[peak:].min()
    return int(min(steepest + (wave[steepest] - base) / -slope[steepest], beat.shape[1] - 1))


def amplitudes(beat: np.ndarray, onset: int, offset: int, t_end: int) -> dict[str, np.ndarray]:
    """Of each lead, mV: ``q`` (≤ 0, ahead of the first R, which is 0.05 mV or more), ``r``, ``s`` (≤ 0, after the first R),
    ``st`` and ``st60`` (20 and 60 ms after the end), ``t``; and ``q_width``, the seconds for which Q is below −0.02 mV."""
    qrs = beat[:, onset : max(offset, onset + 8)]
    peak = qrs.argmax(axis=1)
    time = np.arange(qrs.shape[1])
    lowest = np.minimum(qrs, 0)
    risen = (np.maximum.accumulate(qrs, axis=1) >= 0.05) | (time >= peak[:, None])
    before = np.where(risen, 0, lowest).min(axis=1)
    after = np.where(risen, lowest, 0).min(axis=1)
    r = np.maximum(qrs.max(axis=1), 0)
    j20, j60 = (min(offset + late, beat.shape[1] - 1) for late in (10, 30))
    repolarisation = beat[:, min(offset + 40, beat.shape[1] - 2) : max(t_end + 10, offset + 60)]
    place = np.abs(repolarisation).argmax(axis=1)
    t = repolarisation[np.arange(len(beat)), place]
    q_width = ((qrs < -0.02) & ~risen).sum(axis=1) / RATE
    return {"q": before, "r": r, "s": after, "st": beat[:, j20], "st60": beat[:, j60], "t": t, "q_width": q_width}


def frontal_axis(qrs: np.ndarray) -> float:
    """Degrees, from the areas of leads I and aVF within the complex ``[12, T]``, leads in canonical order."""
    one, foot = qrs[0].sum(), (qrs[1] + qrs[2]).sum() / 2
    return float(np.degrees(np.arctan2(2 / np.sqrt(3) * foot, one)))
