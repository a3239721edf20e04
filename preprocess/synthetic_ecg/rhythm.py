"""When the heart beats: ventricular onsets of one record and what its atria do meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.synthetic_ecg.findings import SINUS, Findings

SECONDS = 10.0
NORMAL, PREMATURE_VENTRICULAR, PREMATURE_ATRIAL = range(3)


@dataclass(frozen=True)
class Rhythm:
    """Beats of one record: arrays ``[beats]``.

    ``onset`` is the start of the QRS complex in seconds from the start of the record (the first and last beats may lie
    outside), ``interval`` the RR interval that the rhythm itself set for the beat, which governs its QT interval,
    ``kind`` one of NORMAL, PREMATURE_VENTRICULAR, PREMATURE_ATRIAL.
    """

    onset: np.ndarray
    interval: np.ndarray
    kind: np.ndarray
    breaths_per_second: float


def draw_rhythm(rng: np.random.Generator, findings: Findings) -> Rhythm:
    """Draw the beats of one record."""
    mean = 60 / findings.rate
    count = int((SECONDS + 2) / (0.6 * mean)) + 6
    breath = float(rng.uniform(0.18, 0.30))
    if findings.rhythm == "AFIB":
        # Irregularly irregular: independent intervals, never shorter than the node's refractory time.
        shape = 1 / rng.uniform(0.14, 0.28) ** 2
        intervals = np.maximum(rng.gamma(shape, mean / shape, size=count), 0.32)
    elif findings.rhythm == "AFLT":
        intervals = _flutter_intervals(rng, mean, findings.conduction, count)
    elif findings.rhythm == "PACED":
        intervals = np.full(count, mean)
    else:
        intervals = _sinus_intervals(rng, mean, breath, count, "sinus_arrhythmia" in findings.minor)
    onset = np.cumsum(intervals) - intervals[0] - rng.uniform(0, 1) * intervals[0] - 0.2
    kind = np.full(count, NORMAL)
    # With both kinds in ten seconds one of each is all that surely fits, even at 40 beats per minute.
    single = {"PVC", "PAC"} <= findings.labels
    if "PVC" in findings.labels:
        _place_premature_ventricular(rng, findings, onset, intervals, kind, single)
    if "PAC" in findings.labels:
        _place_premature_atrial(rng, onset, intervals, kind, single)
    inside = onset < SECONDS + 0.5
    return Rhythm(onset[inside], intervals[inside], kind[inside], breath)


def _sinus_intervals(rng: np.random.Generator, mean: float, breath: float, count: int, arrhythmia: bool) -> np.ndarray:
    """Heart rate variability: a breath-bound part, a slow wave near 0.1 Hz and beat-to-beat noise."""
    depth = rng.uniform(0.09, 0.15) if arrhythmia else rng.uniform(0.005, 0.035) * min(mean, 1.0)
    time = mean * np.arange(count)
    phases = rng.uniform(0, 2 * np.pi, size=2)
    swing = depth * np.sin(2 * np.pi * breath * time + phases[0])
    swing += rng.uniform(0.003, 0.015) * np.sin(2 * np.pi * 0.1 * time + phases[1])
    intervals = 1 + swing + rng.normal(0, 0.005, size=count)
    # The rate over the record is the one that the label promises.
    return mean * intervals / intervals[: int(SECONDS / mean) + 1].mean()


def _flutter_intervals(rng: np.random.Generator, mean: float, conduction: int, count: int) -> np.ndarray:
    cycle = mean / conduction
    ratio = np.full(count, conduction)
    if conduction > 2 and rng.random() < 0.4:  # variable block; 2 conducts every time or the label would change
        ratio = ratio + rng.choice([-1, 0, 0, 1], size=count)
    return cycle * ratio


def _places(rng: np.random.Generator, onset: np.ndarray, wanted: int, taken: np.ndarray) -> list[int]:
    """Up to ``wanted`` beats inside the record, none a neighbour of another or of a ``taken`` one."""
    blocked = set(np.flatnonzero(taken))
    chosen: list[int] = []
    for i in rng.permutation(np.flatnonzero((onset > 1.2) & (onset < SECONDS - 1.0))):
        if len(chosen) < wanted and i >= 2 and not {i - 1, i, i + 1} & blocked:
            chosen.append(int(i))
            blocked.add(i)
    return sorted(chosen)


def _place_premature_ventricular(
    rng: np.random.Generator,
    findings: Findings,
    onset: np.ndarray,
    intervals: np.ndarray,
    kind: np.ndarray,
    single: bool,
) -> None:
    if not single and rng.random() < 0.10:  # bigeminy
        chosen = list(range(2 + int(rng.integers(2)), len(onset) - 1, 2))
    else:
        wanted = 1 if single else 1 + min(int(rng.geometric(0.45)), 4)
        chosen = _places(rng, onset, wanted, kind != NORMAL)
    coupling = rng.uniform(0.52, 0.74)
    for i in chosen:
        kind[i] = PREMATURE_VENTRICULAR
        # The sinus node is not disturbed, so the next beat stays where it was: a compensatory pause.
        early = max(coupling * intervals[i], 0.34)
        moved = onset[i - 1] + early
        if findings.rhythm not in SINUS:
            onset[i + 1 :] += max(0.0, moved + 1.1 * intervals.mean() - onset[i + 1])
        onset[i] = min(moved, onset[i])


def _place_premature_atrial(
    rng: np.random.Generator, onset: np.ndarray, intervals: np.ndarray, kind: np.ndarray, single: bool
) -> None:
    coupling = rng.uniform(0.58, 0.74)
    wanted = 1 if single else min(int(rng.geometric(0.6)), 3)
    for i in _places(rng, onset, wanted, kind != NORMAL):
        kind[i] = PREMATURE_ATRIAL
        # The early beat resets the sinus node, so all later beats come earlier too, after a slightly longer wait.
        lead = onset[i] - (onset[i - 1] + max(coupling * intervals[i], 0.36))
        onset[i] -= lead
        onset[i + 1 :] -= lead - 0.08 * intervals[i]
