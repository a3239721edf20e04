"""The beats of one record: the ventricles of its subject, turned, thickened and scarred until the leads show its causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocess.synthetic_ecg.physiology import heart
from preprocess.synthetic_ecg.physiology.atria import draw_p_waves, p_duration
from preprocess.synthetic_ecg.physiology.bumps import QRS, ST, Bumps, T, U
from preprocess.synthetic_ecg.physiology.conduction import Activation, activate, activate_from, qrs_duration
from preprocess.synthetic_ecg.physiology.findings import Findings
from preprocess.synthetic_ecg.physiology.fitting import SCAR, Seen, area_factor, led_astray, segment_leads, shown, template
from preprocess.synthetic_ecg.physiology.leads import INDEPENDENT_TO_TWELVE, MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.repolarisation import Recovery, healthy, recover
from preprocess.synthetic_ecg.physiology.rhythm import (
    ESCAPE,
    JUNCTIONAL,
    NORMAL,
    PACED,
    PREMATURE_ATRIAL,
    PREMATURE_VENTRICULAR,
    TACHYCARDIC,
    Intervals,
    Rhythm,
)
from preprocess.synthetic_ecg.physiology.subjects import Subject, rotation

_ROW = {name: row for row, name in enumerate(MIMIC_LEADS)}
_T_FALL = 2.5  # T ends so many standard deviations of its fall after its top
_GROUPS = np.array([0 if "ant" in n else 1 if "inferior" in n else 2 if "right" in n else 3 for n in heart.NAMES])
_T_ALTERING = frozenset({"DIG", "NDT", "NT_", "NST_", "HYPOK", "LVOLT", "ANEUR", "PERI"})


@dataclass(frozen=True)
class Beats:
    """The shapes of one record and its intervals in seconds.

    ``complexes`` are QRS, ST, T and U by kind of beat, ``p_waves`` by kind of P wave; ``pr_interval`` and ``p_duration`` are 0
    where no P wave leads to a complex. ``necrosis`` is how large the scars had to be made (0 = none).
    """

    complexes: dict[int, Bumps]
    p_waves: dict[int, Bumps]
    pr_interval: float
    p_duration: float
    qrs_duration: float
    qt_interval: float
    ventricular_duration: float
    necrosis: float = 0.0


def draw_intervals(rng: np.random.Generator, findings: Findings, subject: Subject) -> Intervals:
    """PR, P, QRS and QT of the record's ordinary beat; QT after Fridericia's cube root, and a wide complex lengthens it."""
    causes, severity = findings.causes, findings.severity
    duration = qrs_duration(rng, findings, subject)
    cycle = 60 / findings.rate
    if "3AVB" in causes:
        cycle = 60 / (rng.uniform(28, 42) if rng.random() < 0.6 else rng.uniform(38, 54))
    elif findings.mode == "2:1":
        cycle *= 2
    interval = np.clip(cycle, 0.3, 1.8)
    corrected = subject.qt_corrected + rng.normal(0, 0.006)
    if "LNGQT" in causes:
        corrected = rng.uniform(0.478, 0.50 + 0.07 * severity)
    elif "HYPOCA" in causes:
        corrected = rng.uniform(0.470, 0.49 + 0.06 * severity)
    elif "HYPERCA" in causes or "DIG" in causes:
        corrected -= rng.uniform(0.02, 0.05) if "DIG" in causes else rng.uniform(0.045, 0.075)
    elif "HYPOK" in causes:
        corrected += 0.02 * severity
    qt = float(min(corrected * np.cbrt(interval) + 0.8 * max(0.0, duration - 0.100), 0.86 * interval + 0.06))
    if "1AVB" in causes:
        pr = 0.206 + rng.gamma(1.6, 0.022)
        pr = min(pr, 0.36, max(0.22, interval - qt + 0.12))
    elif "SPR" in causes:
        pr = rng.uniform(0.094, 0.114)
    elif "WPW" in causes:
        pr = rng.uniform(0.088, 0.116)
    else:
        # Fast rates shorten PR a little.
        pr = float(np.clip(subject.pr_interval + rng.normal(0, 0.004) - 0.0004 * max(findings.rate - 80, 0), 0.116, 0.198))
        if findings.mode == "wenckebach":
            pr = max(pr, 0.17)
    return Intervals(pr=float(pr), p=min(p_duration(rng, findings, subject), 0.92 * pr), qrs=duration, qt=qt, cycle=cycle)


def draw_beats(rng: np.random.Generator, findings: Findings, subject: Subject, rhythm: Rhythm, intervals: Intervals) -> Beats:
    """Shapes that show the causes of ``findings`` in ``subject``."""
    ordinary = activate(np.random.default_rng(0), Findings("SR", 70.0), subject, subject.qrs_duration)
    activation = activate(rng, findings, subject, intervals.qrs)
    seen, necrosis = shown(rng, findings, subject, activation)
    wide = bool(findings.causes & {"CLBBB", "CRBBB", "WPW", "IVCD"})
    share = np.where(heart.LEFT & ("LVH" in findings.causes), 0.2, 1.0)[:, None]
    # A complex whose late part alone has another axis leaves T where it is, as a turned heart does.
    usual = led_astray(ordinary, ordinary.vectors @ seen.turn.T, seen.astray)
    gained = (seen.areas - usual * area_factor(ordinary) * seen.overall) * share
    recovery = recover(rng, findings, subject, seen.field, heart.DIRECTIONS @ seen.turn.T, gained, wide)
    _upright(rng, findings, seen.field, recovery)
    scale = min(intervals.qt, 0.44) / 0.4
    conducted = _bumps(rng, subject, seen, recovery, intervals.qt, scale)
    complexes = dict.fromkeys((NORMAL, PREMATURE_ATRIAL, JUNCTIONAL), conducted)
    ventricular = 0.0
    for kind in sorted(set(rhythm.kind.tolist()) - complexes.keys()):
        focus = _focus(rng, kind, subject)
        ventricular = float(rng.uniform(0.128, 0.172) if kind != PACED else rng.uniform(0.142, 0.188))
        complexes[kind] = _from_focus(rng, subject, focus, ventricular, intervals, ordinary)
    has_p = bool((rhythm.p_beat >= 0).any())
    return Beats(
        complexes=complexes,
        p_waves=draw_p_waves(rng, findings, subject, intervals.p),
        pr_interval=intervals.pr if has_p else 0.0,
        p_duration=intervals.p if has_p else 0.0,
        qrs_duration=intervals.qrs,
        qt_interval=intervals.qt,
        ventricular_duration=ventricular,
        necrosis=necrosis,
    )


def _upright(rng: np.random.Generator, findings: Findings, field: np.ndarray, recovery: Recovery) -> None:
    """Where nothing is the matter with T it is upright, and no smaller than an electrocardiograph would remark upon."""
    if findings.stages or findings.strain or findings.causes & (_T_ALTERING | {"CLBBB", "WPW", "SEHYP"}):
        return
    if any(code.startswith(("ISC", "INJ")) for code in findings.causes):
        return
    rows = [_ROW[name] for name in ("I", "II", "V4", "V5", "V6")]
    least = rng.uniform(0.08, 0.13)
    for _ in range(4):
        seen = np.einsum("klc,kc->l", field, recovery.t)[rows]
        if seen.min() >= least:
            return
        recovery.t = recovery.t * 1.08 + np.array([0.5, 0.2, -0.1]) * (least + 0.02 - seen.min()) / len(heart.NAMES) * 1.4


def _bumps(rng: np.random.Generator, subject: Subject, seen: Seen, recovery: Recovery, qt: float, scale: float) -> Bumps:
    """QRS, ST, T and U of a beat."""
    activation, duration = seen.activation, seen.activation.duration
    field, lower = segment_leads(subject, seen.turn), segment_leads(subject, rotation(0.07, 0.02) @ seen.turn, 0.7)
    tilt = rotation(0.07, 0.02)

    def leads(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        base = np.einsum("klc,kc->kl", field, vectors)
        return base, np.einsum("klc,kc->kl", lower, vectors @ tilt.T) - base

    def bump(centre: Any, plateau: float, before: Any, after: Any, seen_by: tuple, wave: int) -> Bumps:
        count = len(seen_by[0])
        times = [np.broadcast_to(np.asarray(x, dtype=float), (count,)) for x in (centre, plateau, before, after)]
        return Bumps(times[0], times[1], times[2], times[3], seen_by[0], seen_by[1], np.full(count, wave))

    parts = [bump(activation.times, 0.0, activation.widths, activation.widths, leads(seen.vectors), QRS)]
    # No front is that smooth: bundles of fibres are a little early or late.
    count = len(heart.NAMES)
    slow = max(duration / 0.09, 1.0)
    uneven = seen.vectors * rng.normal(0, 0.13 / slow, size=(count, 1))
    inside = np.clip(activation.times + rng.normal(0, 0.006, size=count), 0.012, max(duration - 0.012, 0.013))
    parts.append(bump(inside, 0.0, 0.0015 * slow, 0.0017 * slow, leads(uneven), QRS))
    if seen.scars.any():
        centre, width = SCAR
        parts.append(bump(centre, 0.0, width, width, tuple(x.sum(axis=0)[None] for x in leads(seen.scars)), QRS))
    fall = 0.036 * scale / recovery.sharpness
    rise = recovery.rise * fall
    top = max(qt - _T_FALL * fall, duration + 0.09)
    st = tuple(x.sum(axis=0)[None] for x in leads(recovery.st))
    start, end = duration - 0.006, top - 1.0 * rise
    half = max((end - start) / 2, 0.01)
    if recovery.sagging:
        parts.append(bump(start + 1.35 * half, 0.25 * half, 0.75 * half, 0.035 * scale, st, ST))
    else:
        level = 1 - 0.8 * recovery.slope
        climb = 0.007 + 0.75 * recovery.slope * half
        parts.append(bump(start + (2 - level) * half, level * half, climb, 0.040 * scale, st, ST))
    t = leads(recovery.t)
    shifts = rng.normal(0, 0.007, size=4)
    grouped = tuple(np.stack([x[_GROUPS == group].sum(axis=0) for group in range(4)]) for x in t)
    parts.append(bump(top + shifts, 0.0, rise, fall, grouped, T))
    if recovery.j_wave:
        lifted = leads(heart.DIRECTIONS @ seen.turn.T * (heart.share_of("inferolateral") * 0.03)[:, None])
        strength = recovery.j_wave / max(float(lifted[0].sum(axis=0)[[1, 6]].max()), 0.02)
        parts.append(bump(duration + 0.004, 0.0, 0.006, 0.007, tuple(strength * x.sum(axis=0)[None] for x in lifted), QRS))
    if recovery.u:
        apical = leads(heart.DIRECTIONS @ seen.turn.T * heart.share_of("anterior")[:, None])
        strength = recovery.u / max(float(apical[0].sum(axis=0)[[3, 4]].max()), 0.02)
        place = qt + 0.075 * scale
        parts.append(bump(place, 0.0, 0.032, 0.038, tuple(strength * x.sum(axis=0)[None] for x in apical), U))
    return Bumps.joined(parts)


def _focus(rng: np.random.Generator, kind: int, subject: Subject) -> np.ndarray:
    if kind == PREMATURE_VENTRICULAR:
        return subject.focus
    names = {
        PACED: (*("right apical",) * 5, "right inferior", "right free", "mid anteroseptal"),
        ESCAPE: ("mid inferoseptal", "mid anteroseptal", "apical septal", "right free"),
        TACHYCARDIC: (
            "mid inferior",
            "apical anterior",
            "basal inferolateral",
            "right outflow",
            "mid anterolateral",
            "basal inferior",
        ),
    }[kind]
    return heart.PLACES[heart.NAMES.index(names[int(rng.integers(len(names)))])] + rng.normal(0, 0.4, size=3)


def _from_focus(
    rng: np.random.Generator, subject: Subject, focus: np.ndarray, duration: float, intervals: Intervals, ordinary: Activation
) -> Bumps:
    """A beat that arises in the ventricles: wide, T opposite to it."""
    activation = activate_from(rng, subject, focus, duration)
    turn = subject.rotation
    vectors = activation.vectors @ turn.T
    field = INDEPENDENT_TO_TWELVE @ segment_leads(subject, turn)
    seen = Seen(turn, field, vectors, vectors * area_factor(activation), np.zeros_like(vectors), activation, 1.0)
    largest = np.abs(template(seen)).max()
    seen.vectors = vectors * min(1.0, rng.uniform(2.0, 3.2) / largest)
    gained = seen.vectors * area_factor(activation) - ordinary.areas @ turn.T
    base = healthy(rng, subject)
    state = Recovery(st=base.st - rng.uniform(0.6, 1.0) * gained, t=0.6 * base.t - 0.75 / 0.115 * gained, rise=1.4)
    qt = intervals.qt + 0.7 * max(duration - intervals.qrs, 0.0)
    return _bumps(rng, subject, seen, state, qt, min(qt, 0.46) / 0.4)
