"""The beats of one record: the ventricles of its subject, turned, thickened and scarred until the leads show its causes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from preprocess.synthetic_ecg.physiology import heart
from preprocess.synthetic_ecg.physiology.atria import draw_p_waves, p_duration
from preprocess.synthetic_ecg.physiology.bumps import QRS, ST, Bumps, T, U
from preprocess.synthetic_ecg.physiology.conduction import Activation, activate, activate_from, qrs_duration
from preprocess.synthetic_ecg.physiology.findings import INFARCTS, Findings
from preprocess.synthetic_ecg.physiology.leads import INDEPENDENT_TO_TWELVE, MIMIC_LEADS, frontal_axis
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
from preprocess.synthetic_ecg.physiology.torso import lead_field

_ROW = {name: row for row, name in enumerate(MIMIC_LEADS)}
_STEPS = 8
_TIME = np.arange(0, 0.20, 0.004)
# Degrees that a heart may be turned by to meet a criterion: beyond, its position would be no heart's. A late fascicle turns the
# complex, not the heart: R stays at its beginning, where a turned heart would show the Q waves of an infarct.
_FARTHEST, _FARTHEST_LATE = 45.0, 15.0
_TALLEST, _TALLEST_BLOCKED = (4.7, 5.8), (2.8, 5.2)  # mV from the lowest to the highest point of a chest lead, at most; in LBBB
# Shares of the complex: before the first the walls of both fascicles are on time, from the second on one is late.
_FASCICLES = (0.14, 0.40)
_R_PRIME = (0.12, 0.26)  # mV, in V1, of an incomplete right bundle branch block
_SCAR = (0.020, 0.0115)  # middle and standard deviation of what a scar takes from the beginning of the complex, s
_T_FALL = 2.5  # T ends so many standard deviations of its fall after its top
_GROUPS = np.array([0 if "ant" in n else 1 if "inferior" in n else 2 if "right" in n else 3 for n in heart.NAMES])
_T_ALTERING = frozenset({"DIG", "NDT", "NT_", "NST_", "HYPOK", "LVOLT", "ANEUR", "PERI"})
_AXES = {"LAFB": (-74, -47), "LAD": (-52, -33), "LPFB": (95, 120), "RAD": (93, 112), "RVH": (97, 140)}


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
    seen, necrosis = _shown(rng, findings, subject, activation)
    wide = bool(findings.causes & {"CLBBB", "CRBBB", "WPW", "IVCD"})
    share = np.where(heart.LEFT & ("LVH" in findings.causes), 0.2, 1.0)[:, None]
    # A complex whose late part alone has another axis leaves T where it is, as a turned heart does.
    usual = _astray(ordinary, ordinary.vectors @ seen.turn.T, seen.astray)
    gained = (seen.areas - usual * _area_factor(ordinary) * seen.overall) * share
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


@dataclass
class _Seen:
    """An activation in a body: vectors and areas in its axes, ``field`` ``[23, 12, 3]`` of its leads, scars as further
    vectors; ``astray`` are the degrees by which the late part of the complex points elsewhere than its walls."""

    turn: np.ndarray
    field: np.ndarray
    vectors: np.ndarray
    areas: np.ndarray
    scars: np.ndarray
    activation: Activation
    overall: float
    astray: float = 0.0

    def scaled(self, factor: float) -> _Seen:
        """The same, all of the complex larger or smaller by a factor."""
        larger = {name: factor * getattr(self, name) for name in ("vectors", "areas", "scars", "overall")}
        return replace(self, **larger)


def _place(subject: Subject, turn: np.ndarray, deeper: float = 0.0) -> np.ndarray:
    """``[23, 8, 3]``: the independent leads of each segment."""
    places = heart.PLACES @ turn.T + subject.position + np.array([0.0, deeper, 0.3 * deeper])
    return lead_field(places, subject.electrodes, subject.limbs)


def _shown(rng: np.random.Generator, findings: Findings, subject: Subject, activation: Activation) -> tuple[_Seen, float]:
    """Turn, strengthen and scar the heart, a few steps, until the complex meets the criteria of the causes."""
    causes = findings.causes
    overall, frontal, sideways = 1.0, 0.0, 0.0
    walls = np.ones(len(heart.NAMES))
    shares = [heart.share_of(INFARCTS[code]) for code in findings.stages]
    lost = np.max([np.zeros(len(walls)), *shares], axis=0)
    early = [findings.stages[code] == "acute" for code in findings.stages]
    necrosis = 0.0 if not shares else rng.uniform(0.05, 0.4) if all(early) else rng.uniform(0.1, 0.65)
    kept = 1 - lost * (rng.uniform(0.2, 0.5) if early and all(early) else rng.uniform(0.2, 0.75))
    axis_range = next((_AXES[code] for code in _AXES if code in causes), None)
    target_axis = rng.uniform(*axis_range) if axis_range else None
    sokolow_target = rng.uniform(3.6, 4.9)
    cornell = "LVH" in causes and rng.random() < 0.3
    low = rng.uniform(0.28, 0.46)
    doubtful = rng.random() < 0.12  # an infarct that little is left of
    spare = 30.0 if shares else 0.0  # degrees that a scarred heart may still be turned by
    farthest = _FARTHEST_LATE if causes & {"LAFB", "LPFB", "LAD", "RAD"} else _FARTHEST
    allowed, r_prime = rng.uniform(*(_TALLEST_BLOCKED if "CLBBB" in causes else _TALLEST)), rng.uniform(*_R_PRIME)
    for _ in range(_STEPS):
        turn, astray = _turned(subject, frontal, sideways, farthest)
        field = INDEPENDENT_TO_TWELVE @ _place(subject, turn)
        vectors = _astray(activation, activation.vectors @ turn.T, astray)
        if causes & {"CRBBB", "IRBBB"}:  # the axis is the left ventricle's: the late right one stays where it is, in front
            vectors = np.where(heart.LEFT[:, None], vectors, activation.vectors @ subject.rotation.T)
        vectors = vectors * (overall * walls * kept)[:, None]
        scars = -(heart.DIRECTIONS @ turn.T) * (overall * necrosis * lost * heart.STRENGTHS)[:, None]
        seen = _Seen(turn, field, vectors, vectors * _area_factor(activation), scars, activation, overall, astray)
        qrs = _template(seen)
        high, deep = qrs.max(axis=1), qrs.min(axis=1)
        sokolow = max(high[_ROW["V5"]], high[_ROW["V6"]]) - deep[_ROW["V1"]]
        cornell_now = high[_ROW["aVL"]] - deep[_ROW["V3"]]
        limb, tallest = (high - deep)[:6].max(), (high - deep)[6:].max()
        change = False
        if "LVH" in causes:
            needed = (
                (2.95 if subject.sex == "M" else 2.15) / max(cornell_now, 0.3)
                if cornell
                else sokolow_target / max(sokolow, 0.3)
            )
            # Where the R of aVL does not grow with the wall, or the chest leads are high already, more of it meets nothing.
            needed = min(needed, 1.6, allowed / tallest)
            if needed > 1.01:
                walls, change = np.where(heart.LEFT, walls * needed, walls), True
        elif "LVOLT" in causes:
            change = abs(limb / low - 1) > 0.08
            overall *= low / limb
        elif "HVOLT" in causes:
            change = sokolow < 3.5
            overall *= max(1.0, sokolow_target / sokolow)
        elif not causes & {"WPW", "CLBBB"} and max(sokolow / 3.45, cornell_now / (2.7 if subject.sex == "M" else 1.9)) > 1:
            worst = max(sokolow / 3.45, cornell_now / (2.7 if subject.sex == "M" else 1.9))
            overall, change = overall * rng.uniform(0.80, 0.98) / worst, True
        elif limb < 0.55:
            overall, change = overall * rng.uniform(0.57, 0.8) / limb, True
        if "RVH" in causes and high[_ROW["V1"]] < 0.72:
            walls, change = np.where(heart.LEFT, 0.93 * walls, 1.3 * walls), True
        if 0 < necrosis < 2.4 and not doubtful and _too_small(findings, qrs, high, deep):
            necrosis, change = necrosis * 1.4, True
        if "CRBBB" in causes and qrs[_ROW["V1"], 18:].max() < max(0.25, high[_ROW["V1"]] - 0.02):
            walls, change = np.where(heart.LEFT, walls, 1.35 * walls), True
        if "IRBBB" in causes and _second_r(qrs) < r_prime:
            walls, change = np.where(heart.LEFT, walls, (1.7 if _second_r(qrs) < 0.02 else 1.25) * walls), True
        # Where the right ventricle is late the axis is that of the left one.
        part = qrs[:, :20] if "CRBBB" in causes else qrs
        axis = frontal_axis(part[0].sum(), (part[1] + part[2]).sum() / 2)
        goal = _axis_goal(rng, causes, axis, target_axis)
        if goal is None and spare and not -45 < axis < 90:
            back = float(np.clip((-20 if axis < 0 else 70) - axis, -spare, spare))
            frontal, change, spare = frontal + back, True, spare - abs(back)
        if goal is not None:
            frontal, change = frontal + np.clip(0.9 * ((goal - axis + 180) % 360 - 180), -40, 40), True
        step = _transition(causes, high, deep)
        if step and abs(sideways + step) < _FARTHEST:
            sideways, change = sideways + step, True
        if not change:
            break
    return seen.scaled(min(1.0, allowed / max(tallest, cornell_now, 0.85 * sokolow))), necrosis


def _turned(subject: Subject, frontal: float, sideways: float, farthest: float) -> tuple[np.ndarray, float]:
    """The heart ``[3, 3]``, turned in the frontal plane by ``farthest`` degrees at most, and how many of ``frontal`` are
    left."""
    most = min(farthest, np.sqrt(_FARTHEST**2 - sideways**2))
    turned = float(np.clip(frontal, -most, most))
    return rotation(np.radians(turned), np.radians(sideways)) @ subject.rotation, float(frontal - turned)


def _astray(activation: Activation, vectors: np.ndarray, degrees: float) -> np.ndarray:
    """``vectors`` of which the late ones point elsewhere in the frontal plane: what reaches a wall by way of another fascicle
    crosses it at a slant. The beginning of the complex is as ever, and so are places, territories, ST and T."""
    first, whole = (share * activation.duration for share in _FASCICLES)
    angle = np.radians(degrees) * np.clip((activation.times - first) / (whole - first), 0, 1)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * vectors[:, 0] - s * vectors[:, 1], s * vectors[:, 0] + c * vectors[:, 1], vectors[:, 2]], axis=1)


def _second_r(qrs: np.ndarray) -> float:
    """mV, the highest point of V1 after its deepest."""
    v1 = qrs[_ROW["V1"]]
    return float(v1[v1.argmin() :].max())


def _area_factor(activation: Activation) -> np.ndarray:
    return (np.sqrt(2 * np.pi) * activation.widths)[:, None]


def _axis_goal(rng: np.random.Generator, causes: frozenset, axis: float, target: float | None) -> float | None:
    """Where the axis has to turn to; None where it may stay."""
    if target is not None:
        return target if abs((axis - target + 180) % 360 - 180) > 6 else None
    if "CLBBB" in causes and axis > 30:
        return rng.uniform(-60, 30)
    if causes & {"WPW", "CLBBB", "IVCD", "CRBBB", *INFARCTS}:
        return None
    if axis < -27:
        return rng.uniform(-25, 0)
    return rng.uniform(45, 74) if axis > 78 else None


def _transition(causes: frozenset, high: np.ndarray, deep: np.ndarray) -> float:
    """Degrees by which to turn the heart about a vertical axis: positive moves the apex backwards."""
    v2, v5 = _ROW["V2"], _ROW["V5"]
    if "CR" in causes and high[v5] > -deep[v5]:
        return 13.0
    if "LVH" in causes and high[_ROW["V3"]] > -0.7 * deep[_ROW["V3"]]:
        return 7.0
    if "CCR" in causes and high[v2] < -1.05 * deep[v2]:
        return -12.0
    # Without a cause R grows as far as V3, and does not outgrow S in V2.
    if not causes & {"CLBBB", "WPW", "CR", "CCR", "RVH", "LVOLT", "CRBBB", "ILBBB", *INFARCTS}:
        if high[_ROW["V3"]] < 0.36:
            return -7.0
        return 6.0 if high[v2] > -0.95 * deep[v2] else 0.0
    return 0.0


def _too_small(findings: Findings, qrs: np.ndarray, high: np.ndarray, deep: np.ndarray) -> bool:
    """Whether an infarct has left no Q waves, or next to no R waves, in two leads of its territory."""
    for code, stage in findings.stages.items():
        if stage == "acute" or code == "PMI":
            continue
        count = 0
        for name in heart.TERRITORY_LEADS[INFARCTS[code]]:
            lead = qrs[_ROW[name]]
            q = lead[: lead.argmax() + 1].min() if high[_ROW[name]] > 0.05 else deep[_ROW[name]]
            first = lead[:6].max() < 0.06
            count += (q < -max(0.09, 0.18 * high[_ROW[name]]) and first) or 0.0 < high[_ROW[name]] < 0.2
        if count < 2:
            return True
    return False


def _template(seen: _Seen) -> np.ndarray:
    """The complex alone, ``[12, 50]`` mV, every 4 ms."""
    activation = seen.activation
    shape = np.exp(-0.5 * ((_TIME - activation.times[:, None]) / activation.widths[:, None]) ** 2)
    twelve = np.einsum("klc,kc->lk", seen.field, seen.vectors) @ shape
    centre, width = _SCAR
    twelve += np.einsum("klc,kc->l", seen.field, seen.scars)[:, None] * np.exp(-0.5 * ((_TIME - centre) / width) ** 2)
    return twelve


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


def _bumps(rng: np.random.Generator, subject: Subject, seen: _Seen, recovery: Recovery, qt: float, scale: float) -> Bumps:
    """QRS, ST, T and U of a beat."""
    activation, duration = seen.activation, seen.activation.duration
    field, lower = _place(subject, seen.turn), _place(subject, rotation(0.07, 0.02) @ seen.turn, 0.7)
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
        centre, width = _SCAR
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
    field = INDEPENDENT_TO_TWELVE @ _place(subject, turn)
    seen = _Seen(turn, field, vectors, vectors * _area_factor(activation), np.zeros_like(vectors), activation, 1.0)
    largest = np.abs(_template(seen)).max()
    seen.vectors = vectors * min(1.0, rng.uniform(2.0, 3.2) / largest)
    gained = seen.vectors * _area_factor(activation) - ordinary.areas @ turn.T
    base = healthy(rng, subject)
    state = Recovery(st=base.st - rng.uniform(0.6, 1.0) * gained, t=0.6 * base.t - 0.75 / 0.115 * gained, rise=1.4)
    qt = intervals.qt + 0.7 * max(duration - intervals.qrs, 0.0)
    return _bumps(rng, subject, seen, state, qt, min(qt, 0.46) / 0.4)
