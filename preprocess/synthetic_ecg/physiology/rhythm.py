"""When the heart beats: the waves of the atria and the complexes of the ventricles of one record, and which led to which."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from preprocess.synthetic_ecg.physiology.findings import Findings
from preprocess.synthetic_ecg.physiology.subjects import Subject

SECONDS = 10.0
_FROM, _UNTIL = -1.2, SECONDS + 0.8  # the record is a part of what the heart does
# Kinds of complexes: conducted; premature; from the junction; ventricular escape; of ventricular tachycardia; paced.
NORMAL, PREMATURE_VENTRICULAR, PREMATURE_ATRIAL, JUNCTIONAL, ESCAPE, TACHYCARDIC, PACED = range(7)
VENTRICULAR = frozenset({PREMATURE_VENTRICULAR, ESCAPE, TACHYCARDIC, PACED})
# Kinds of P waves.
SINUS_P, ECTOPIC_P, OTHER_P, RETROGRADE_P, PACED_P = range(5)


@dataclass(frozen=True)
class Intervals:
    """Of an ordinary beat of the record, seconds; ``pr`` and ``p`` also say what a P wave would have where there is none.

    ``cycle`` is the mean time from one complex to the next, which QT follows: longer than that of the P waves where the node
    blocks half or all of them.
    """

    pr: float
    p: float
    qrs: float
    qt: float
    cycle: float


@dataclass(frozen=True)
class Rhythm:
    """Beats of one record: arrays ``[beats]`` and, of P waves, ``[waves]``; seconds from the start of the record.

    ``onset`` is the start of the complex (some lie outside the record), ``interval`` the RR interval that governs its QT
    interval, ``kind`` what it is. ``p_onset`` and ``p_kind`` are the P waves; ``p_beat`` is the index of the complex that a P
    wave is conducted to, −1 where there is none. ``spikes`` are those of a pacemaker: seconds and whether they stimulate the
    ventricle.
    """

    onset: np.ndarray
    interval: np.ndarray
    kind: np.ndarray
    p_onset: np.ndarray
    p_kind: np.ndarray
    p_beat: np.ndarray
    breaths_per_second: float
    spikes: list = field(default_factory=list)


class _Writer:
    """Collects beats in the order of time."""

    def __init__(self) -> None:
        self.beats: list[tuple[float, float, int]] = []
        self.waves: list[tuple[float, int, int]] = []
        self.spikes: list[tuple[float, bool]] = []

    @property
    def last(self) -> float:
        return self.beats[-1][0] if self.beats else -9.0

    def beat(self, onset: float, interval: float, kind: int) -> None:
        self.beats.append((onset, interval, kind))

    def wave(self, onset: float, kind: int, conducted: bool = False) -> None:
        """A P wave; ``conducted``: to the complex that is written next."""
        self.waves.append((onset, kind, len(self.beats) if conducted else -1))

    def rhythm(self, breath: float) -> Rhythm:
        beats = np.array(self.beats, dtype=float).reshape(-1, 3)
        waves = np.array(self.waves, dtype=float).reshape(-1, 3)
        return Rhythm(
            beats[:, 0], beats[:, 1], beats[:, 2].astype(int), waves[:, 0], waves[:, 1].astype(int), waves[:, 2].astype(int),
            breath, self.spikes,
        )  # fmt: skip


def draw_rhythm(rng: np.random.Generator, findings: Findings, subject: Subject, intervals: Intervals) -> Rhythm:
    """Draw the beats of one record."""
    breath = float(rng.uniform(0.17, 0.32))
    writer, mean, rhythm = _Writer(), 60 / findings.rate, findings.rhythm
    if rhythm == "AFIB":
        _fibrillation(rng, writer, findings, mean, breath)
    elif rhythm == "AFLT":
        _flutter(rng, writer, findings, mean)
    elif rhythm in {"SVTAC", "VT"} or (rhythm == "PSVT" and rng.random() < 0.25):
        _tachycardia(rng, writer, rhythm, mean, _FROM, _UNTIL, intervals)
    elif rhythm == "PSVT":
        _paroxysm(rng, writer, subject, mean, breath, intervals)
    elif rhythm == "JR":
        _junctional(rng, writer, mean, breath, intervals)
    elif rhythm == "PACE":
        _paced(rng, writer, findings, mean, breath, subject, intervals)
    elif "3AVB" in findings.causes:
        _dissociated(rng, writer, mean, breath, subject, intervals)
    else:
        _sinus(rng, writer, findings, mean, breath, subject, intervals)
    return writer.rhythm(breath)


def sinus_intervals(
    rng: np.random.Generator, mean: float, breath: float, deviation: float, count: int, damped: float = 1.0
) -> np.ndarray:
    """Intervals of the sinus node: a part bound to breathing, a wave near 0.1 Hz, and 1/f noise.

    Args:
        mean: s.
        breath: Hz.
        deviation: standard deviation at 60 beats a minute, s.
        count: how many.
        damped: times the variation.
    """
    time = mean * np.arange(count)
    frequency = np.concatenate([[breath, rng.uniform(0.08, 0.12)], np.geomspace(0.006, 0.5, 9)])
    share = rng.uniform(0.25, 0.75)
    power = np.concatenate([[share, (1 - share) * 0.35], np.full(9, (1 - share) * 0.65 / 9)])
    waves = np.sin(2 * np.pi * frequency[:, None] * time + rng.uniform(0, 2 * np.pi, size=(11, 1)))
    variation = np.sqrt(2 * power) @ waves + rng.normal(0, 0.12, size=count)
    intervals = mean + damped * deviation * min(mean, 1.25) ** 1.5 * variation
    return np.clip(intervals, 0.62 * mean, 1.6 * mean)


def _sinus(
    rng: np.random.Generator,
    writer: _Writer,
    findings: Findings,
    mean: float,
    breath: float,
    subject: Subject,
    intervals: Intervals,
) -> None:
    """Sinus and atrial rhythms, with premature beats, dropped beats and pauses."""
    causes, rhythm = findings.causes, findings.rhythm
    ectopic = rhythm == "AT" or (rhythm == "SVARR" and findings.mode == "ectopic")
    changing = rhythm == "SVARR" and not ectopic
    deviation = subject.variability * (0.4 if rhythm in {"AT", "STACH"} else 0.6 if ectopic else 1.0)
    if findings.mode == "multifocal":
        deviation = 0.11
    count = int((_UNTIL - _FROM) / (0.6 * mean)) + 8
    rr = sinus_intervals(rng, mean, breath, deviation, count)
    inside = rr[: max(int(SECONDS / mean), 2)]
    rr = rr * (mean / inside.mean())  # the rate over the record is the one that the label promises
    pattern = _ectopic_pattern(rng, findings, count, mean)
    blocked = _blocks(rng, findings, count)
    cycles = rr * (intervals.cycle / mean)
    coupling = {PREMATURE_VENTRICULAR: rng.uniform(0.50, 0.72), PREMATURE_ATRIAL: rng.uniform(0.50, 0.75)}
    steps = {"wenckebach": rng.uniform(0.03, 0.07)}.get(findings.mode, 0.0)
    kinds = rng.choice([SINUS_P, ECTOPIC_P, OTHER_P], size=count) if changing else None
    if findings.mode == "wandering" and kinds is not None:
        kinds = np.repeat(kinds, rng.integers(2, 5))[:count]
    pauses = set(rng.permutation(np.arange(int(3 / mean), int(8 / mean) + 1))[: 1 + int(rng.random() < 0.3)])
    escapes = rng.random() < 0.55
    p, since, number = _FROM - rng.uniform(0, mean), 0, 0
    for k in range(count - 1):
        if p > _UNTIL:
            break
        kind = ECTOPIC_P if ectopic else int(kinds[k]) if kinds is not None else SINUS_P
        if "PAUSE" in causes and k in pauses:  # the sinus node misses its turn
            gap = max(rng.uniform(1.7, 2.6) * rr[k], rng.uniform(1.65, 2.2))
            if escapes and gap > 1.25:
                escape = ESCAPE if rng.random() < 0.3 else JUNCTIONAL
                writer.beat(writer.last + min(rng.uniform(1.2, 1.6), gap - 0.2), rr[k], escape)
                p = max(p + gap - rr[k], writer.last + 0.5)
            else:
                p += gap - rr[k]
        delay = intervals.pr + steps * np.sqrt(since) * 1.6
        if kind == OTHER_P:
            delay -= 0.015
        onset = p + max(delay, 0.09)
        # A complex that has just been leaves the node refractory; one that came from below, for longer.
        below = bool(writer.beats) and writer.beats[-1][2] == PREMATURE_VENTRICULAR
        ready = writer.last + max((1.1 if below else 0.62) * intervals.qt, 0.26)
        conducted = not blocked[k] and onset >= ready
        writer.wave(p, kind, conducted)
        if not conducted:
            since = 0
            p += rr[k]
            continue
        writer.beat(onset, cycles[k], NORMAL)
        since, number = since + 1, number + 1
        if pattern[number] == PREMATURE_VENTRICULAR:
            writer.beat(
                onset + max(coupling[PREMATURE_VENTRICULAR] * rr[k] * rng.normal(1, 0.02), 0.33), rr[k], pattern[number]
            )
            p += rr[k]
        elif pattern[number] == PREMATURE_ATRIAL:
            early = p + max(coupling[PREMATURE_ATRIAL] * rr[k] * rng.normal(1, 0.03), 0.30)
            reaches = early + 1.05 * intervals.pr > onset + max(0.55 * intervals.qt, 0.24)
            writer.wave(early, ECTOPIC_P, reaches)
            if reaches:
                writer.beat(early + 1.05 * intervals.pr, rr[k], PREMATURE_ATRIAL)
            # The early wave resets the sinus node, which then takes a little longer.
            p = early + 1.06 * rr[k]
        else:
            p += rr[k]


def _ectopic_pattern(rng: np.random.Generator, findings: Findings, count: int, mean: float) -> np.ndarray:
    """After which of the conducted beats a premature one comes: 0 or its kind, ``[count]``."""
    causes = findings.causes
    pattern = np.zeros(count, dtype=int)
    kind = PREMATURE_ATRIAL if findings.mode == "A" else PREMATURE_VENTRICULAR
    lead = int(-_FROM / mean) + 2
    last = lead + max(int((SECONDS - 1.6) / mean) - 1, 2)
    if "BIGU" in causes:
        pattern[:] = kind
    elif "TRIGU" in causes:
        pattern[int(rng.integers(2)) :: 2] = kind
    elif causes & {"PVC", "PAC"}:
        for code, ectopy in (("PVC", PREMATURE_VENTRICULAR), ("PAC", PREMATURE_ATRIAL)):
            if code in causes:
                free = [i for i in range(lead, last) if not pattern[max(i - 1, 0) : i + 2].any()] or [lead]
                wanted = 1 + min(int(rng.geometric(0.45)) - 1, max(len(free) // 3, 0))
                pattern[rng.permutation(free)[:wanted]] = ectopy
    return pattern


def _blocks(rng: np.random.Generator, findings: Findings, count: int) -> np.ndarray:
    """bool ``[count]``, P waves that the node does not conduct."""
    blocked = np.zeros(count, dtype=bool)
    if "2AVB" not in findings.causes:
        return blocked
    if findings.mode == "2:1":
        blocked[int(rng.integers(2)) :: 2] = True
    elif findings.mode == "wenckebach":
        group = int(rng.integers(3, 6))
        blocked[int(rng.integers(group)) :: group] = True
    else:
        group = int(rng.integers(3, 6))
        blocked[int(rng.integers(group)) :: group] = True
        blocked &= rng.random(count) < 0.85
        blocked[int(rng.integers(5, 8))] = True
    return blocked


def _fibrillation(rng: np.random.Generator, writer: _Writer, findings: Findings, mean: float, breath: float) -> None:
    """Irregularly irregular: independent intervals, never shorter than the node's refractory time."""
    shape = 1 / rng.uniform(0.14, 0.28) ** 2
    coupling, t = rng.uniform(0.50, 0.70), _FROM - rng.uniform(0, mean)
    wanted = 1 + min(int(rng.geometric(0.45)) - 1, 4) if "PVC" in findings.causes else 0
    after = set(rng.permutation(np.arange(2, max(int(8.5 / mean), 3)))[:wanted])
    number = 0
    while t < _UNTIL:
        writer.beat(t, mean, NORMAL)
        if number in after:
            writer.beat(t + max(coupling * mean, 0.34), mean, PREMATURE_VENTRICULAR)
            t = writer.last + 0.3 * mean
        number += 1
        t += max(rng.gamma(shape, mean / shape), 0.30)


def _flutter(rng: np.random.Generator, writer: _Writer, findings: Findings, mean: float) -> None:
    cycle, ratio = mean / findings.conduction, findings.conduction
    variable = ratio > 2 and rng.random() < 0.4
    t = _FROM - rng.uniform(0, mean)
    while t < _UNTIL:
        writer.beat(t, mean, NORMAL)
        t += cycle * (ratio + (int(rng.choice([-1, 0, 0, 1])) if variable else 0))


def _tachycardia(
    rng: np.random.Generator, writer: _Writer, rhythm: str, mean: float, start: float, stop: float, intervals: Intervals
) -> None:
    """Regular: a circle within the node (P hidden in the end of the complex or behind it), or in the ventricle (atria go
    on)."""
    t = start + rng.uniform(0, mean)
    if rhythm == "VT":
        p = start - 0.3
        while p < stop and rng.random() < 0.98:
            writer.wave(p, SINUS_P)
            p += rng.uniform(0.72, 0.80)
        while t < stop:
            writer.beat(t, mean, TACHYCARDIC)
            t += mean * rng.normal(1, 0.012)
        return
    behind = rng.choice([0.35, 0.75, 1.15]) * intervals.qrs + rng.uniform(0.0, 0.03)
    while t < stop:
        writer.beat(t, mean, NORMAL)
        writer.wave(t + behind, RETROGRADE_P)
        t += mean * rng.normal(1, 0.006)


def _paroxysm(
    rng: np.random.Generator, writer: _Writer, subject: Subject, mean: float, breath: float, intervals: Intervals
) -> None:
    """Sinus rhythm into which a tachycardia breaks, or one that ends in it."""
    change = rng.uniform(2.5, 7.0)
    slow = 60 / np.clip(subject.rate, 55, 95)
    if rng.random() < 0.5:
        p = _FROM
        while p + intervals.pr < change:
            writer.wave(p, SINUS_P, conducted=True)
            writer.beat(p + intervals.pr, slow, NORMAL)
            p += slow * rng.normal(1, 0.03)
        early = writer.last + 0.6 * slow
        writer.wave(early - intervals.pr, ECTOPIC_P, conducted=True)
        writer.beat(early, slow, PREMATURE_ATRIAL)
        _tachycardia(rng, writer, "SVTAC", mean, early + mean, _UNTIL, intervals)
        return
    _tachycardia(rng, writer, "SVTAC", mean, _FROM, change, intervals)
    p = writer.last + rng.uniform(0.9, 1.5)
    while p < _UNTIL:
        writer.wave(p, SINUS_P, conducted=True)
        writer.beat(p + intervals.pr, slow, NORMAL)
        p += slow * rng.normal(1, 0.03)


def _junctional(rng: np.random.Generator, writer: _Writer, mean: float, breath: float, intervals: Intervals) -> None:
    where = rng.choice(["before", "hidden", "after"], p=[0.3, 0.45, 0.25])
    t = _FROM - rng.uniform(0, mean)
    for interval in sinus_intervals(rng, mean, breath, 0.012, 60):
        if where == "before":
            writer.wave(t - 0.105, RETROGRADE_P, conducted=True)
        writer.beat(t, mean, JUNCTIONAL)
        if where == "after":
            writer.wave(t + intervals.qrs + 0.035, RETROGRADE_P)
        t += interval
        if t > _UNTIL:
            return


def _dissociated(
    rng: np.random.Generator, writer: _Writer, mean: float, breath: float, subject: Subject, intervals: Intervals
) -> None:
    """Complete block: the atria go on at the rate of the record, an escape rhythm at its own: the slower, the lower its
    place."""
    p = _FROM - rng.uniform(0, mean)
    for interval in sinus_intervals(rng, mean, breath, 0.5 * subject.variability, 60):
        writer.wave(p, SINUS_P)
        p += interval
        if p > _UNTIL:
            break
    kind = ESCAPE if rng.uniform(38, 43) > 60 / intervals.cycle else JUNCTIONAL
    t = _FROM - rng.uniform(0, intervals.cycle)
    while t < _UNTIL:
        writer.beat(t, intervals.cycle, kind)
        t += intervals.cycle * rng.normal(1, 0.008)


def _paced(
    rng: np.random.Generator,
    writer: _Writer,
    findings: Findings,
    mean: float,
    breath: float,
    subject: Subject,
    intervals: Intervals,
) -> None:
    """``V``: the ventricle alone, atria on their own (``VAF``: they fibrillate); ``A``: the atrium; ``D``: tracked or both."""
    mode = findings.mode
    tracked = mode == "D" and rng.random() < 0.6
    rr = sinus_intervals(rng, mean, breath, subject.variability * 0.5, 60) if tracked else np.full(60, mean)
    delay = rng.uniform(0.13, 0.20)
    if mode == "V":
        p, slow = _FROM, mean * rng.uniform(1.05, 1.4)
        while p < _UNTIL:
            writer.wave(p, SINUS_P)
            p += slow * rng.normal(1, 0.02)
    t = _FROM - rng.uniform(0, mean)
    own = rng.random() < 0.25 and mode in {"V", "VAF"}  # now and then the heart is faster
    for interval in rr:
        if t > _UNTIL:
            return
        early = own and rng.random() < 0.25
        if mode == "A":
            writer.spikes.append((t - intervals.pr - 0.012, False))
            writer.wave(t - intervals.pr, PACED_P, conducted=True)
            writer.beat(t, mean, NORMAL)
        else:
            if mode == "D":
                if not tracked:
                    writer.spikes.append((t - delay - 0.012, False))
                writer.wave(t - delay, SINUS_P if tracked else PACED_P, conducted=True)
            if early:
                t -= rng.uniform(0.05, 0.2) * mean
                writer.beat(t, mean, NORMAL)
            else:
                writer.spikes.append((t - 0.010, True))
                writer.beat(t, mean, PACED)
        t += interval
