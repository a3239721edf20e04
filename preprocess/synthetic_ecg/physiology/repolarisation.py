"""ST segment, T and U wave of each segment of the ventricles: healthy, secondary to the complex, injured, ischaemic, poisoned.

All vectors are in the body's axes, mV, ``[23, 3]``; what the leads see of them is linear, so that strengths can be chosen by
what a lead has to show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from preprocess.synthetic_ecg.physiology import heart
from preprocess.synthetic_ecg.physiology.findings import INFARCTS, INJURIES, ISCHAEMIAS, Findings
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.subjects import Subject, rotation

Aim = Callable[[np.ndarray, tuple, float], np.ndarray]
"""Vectors, leads, mV: the vectors, so scaled that one of the leads shows as much."""
_T_AREA = 0.115  # s: a T wave's area is about its height times this
_GRADIENT = 0.45  # of what a complex's area gains, T loses


@dataclass
class Recovery:
    """``st`` and ``t`` ``[23, 3]`` mV; how T is shaped: ``sharpness`` (1 = ordinary, more = narrower), ``symmetry`` (rise by
    fall). ``slope``: how much of ST climbs towards T rather than lies level."""

    st: np.ndarray
    t: np.ndarray
    sharpness: float = 1.0
    rise: float = 1.6
    sagging: bool = False
    slope: float = 0.5
    u: float = 0.0
    j_wave: float = 0.0


def healthy(rng: np.random.Generator, subject: Subject) -> Recovery:
    """Of an ordinary heart; T follows its position less than QRS does."""
    weights = heart.T_STRENGTHS * subject.t_walls * subject.t_strength * rng.lognormal(0, 0.08)
    t = 0.88 * heart.DIRECTIONS * weights[:, None] @ (rotation(-0.15, 0.0) @ subject.wave_rotation).T
    # The ST segment rises a little towards T, most where the front wall and the septum are near.
    forwards = np.array([0.0, -0.011, -0.032]) * subject.t_strength * rng.lognormal(-0.1, 0.6) / len(t)
    t = t + np.array([0.05, 0.045, 0.0]) * subject.t_strength / len(t)
    return Recovery(st=rng.gamma(2.0, 0.013) * t + forwards, t=t, rise=rng.uniform(1.5, 2.2), slope=rng.uniform(0.2, 1.0))


def recover(
    rng: np.random.Generator,
    findings: Findings,
    subject: Subject,
    field: np.ndarray,
    directions: np.ndarray,
    gained: np.ndarray,
    wide: bool,
) -> Recovery:
    """ST and T of the record's conducted beats.

    Args:
        field: ``[23, 12, 3]``, leads in the order of ``MIMIC_LEADS``.
        directions: ``[23, 3]`` outwards, in the body.
        gained: ``[23, 3]`` mV s, by which areas of the complex differ from an ordinary beat's.
        wide: the complex spreads through muscle: ST follows, too.
    """
    causes, severity = findings.causes, findings.severity
    state = healthy(rng, subject)
    left = "CLBBB" in causes
    lost = rng.uniform(0.45, 0.7) if left else _GRADIENT
    state.t = state.t - lost / _T_AREA * gained
    if wide:
        state.st = state.st - rng.uniform(0.8, 1.5) * gained
        state.slope *= 0.6

    def aim(vectors: np.ndarray, leads: tuple, target: float) -> np.ndarray:
        """``vectors`` so scaled that the lead of ``leads`` that shows them best shows ``target`` mV."""
        everywhere = np.einsum("klc,kc->l", field, vectors)
        seen = everywhere[[MIMIC_LEADS.index(name) for name in leads]]
        best = seen.max() if target > 0 else -seen.min()
        # What other leads show of it, opposite or not, is not much more.
        return vectors * (abs(target) / max(best, 0.75 * np.abs(everywhere).max()))

    if "CRBBB" in causes:  # the right ventricle recovers last: T turns over where it lies
        backwards = np.tile([0.1, 0.0, 1.0], (len(heart.NAMES), 1))
        state.t = state.t + aim(backwards, ("V1", "V2"), -rng.uniform(0.35, 0.75))
    if findings.strain:
        side = heart.LEFT & ~heart.SEPTUM if "LVH" in causes else ~heart.LEFT
        leads: tuple[str, ...] = ("I", "V5", "V6") if "LVH" in causes else ("V1", "V2")
        outward = directions * (side * heart.STRENGTHS)[:, None]
        deep = 0.15 + 0.45 * severity
        state.t = state.t * np.where(side, 0.25, 0.8)[:, None] + aim(-outward, leads, -deep)
        state.st = state.st + aim(-outward, leads, -rng.uniform(0.25, 0.5) * deep)
        state.slope = rng.uniform(0.5, 1.0)
    if findings.stages:
        state.t = state.t * rng.uniform(0.5, 1.0)
    for code, stage in findings.stages.items():
        _infarct(rng, state, INFARCTS[code], stage, severity, directions, aim)
    for code in sorted(causes & INJURIES.keys()):
        share = heart.share_of(INJURIES[code])[:, None]
        leads = heart.TERRITORY_LEADS[INJURIES[code]]
        state.st = state.st + aim(-directions * share, leads, -rng.uniform(0.13, 0.2 + 0.2 * severity))
        state.t = state.t * (1 - 0.8 * share)
        state.sagging = bool(rng.random() < 0.4)
    for code in sorted(causes & ISCHAEMIAS.keys()):
        _ischaemia(rng, state, ISCHAEMIAS[code], severity, directions, aim)
    if "ANEUR" in causes:
        share = heart.share_of("anteroseptal")[:, None]
        state.st = state.st + aim(directions * share, ("V2", "V3"), rng.uniform(0.32, 0.50))
    if "PERI" in causes:
        state.st = state.st + aim(
            directions * heart.LEFT[:, None] * heart.STRENGTHS[:, None], ("II", "V5"), rng.uniform(0.10, 0.25)
        )
    if "ERV" in causes:
        share = heart.share_of("anterolateral")[:, None] + 0.5 * heart.share_of("inferior")[:, None]
        state.st = state.st + aim(directions * share, ("V3", "V4", "V5"), rng.uniform(0.12, 0.28))
        state.t = state.t * rng.uniform(1.15, 1.6)
        state.j_wave = float(rng.choice([0.0, rng.uniform(0.08, 0.2)]))
    if "DIG" in causes:
        outward = directions * (heart.LEFT & ~heart.SEPTUM)[:, None] * heart.STRENGTHS[:, None]
        state.st = state.st + aim(-outward, ("II", "V5", "V6"), -rng.uniform(0.08, 0.2))
        state.t = state.t * rng.uniform(0.1, 0.5)
        state.sagging = True
    if causes & {"NDT", "NT_"}:
        mild = 0.25 + 0.35 * rng.random() if "NT_" in causes else rng.uniform(-0.15, 0.35)
        uneven = rng.normal(1, 0.5, size=(len(heart.NAMES), 1))
        state.t = state.t * np.clip(mild * uneven, -0.6, 0.7)
    if "NST_" in causes:
        leads = ("II", "V4", "V5", "V6", "I")
        sign = -1 if rng.random() < 0.75 else 1
        outward = directions * (heart.LEFT * heart.STRENGTHS * rng.lognormal(0, 0.6, size=len(heart.NAMES)))[:, None]
        state.st = state.st + aim(sign * outward, leads, sign * rng.uniform(0.08, 0.12) - 0.02)
        state.t = state.t * rng.uniform(0.45, 0.9)
    if "HYPERK" in causes:
        state.t = state.t * (2.0 + 1.2 * severity)
        state.sharpness, state.rise = 1.5 + 0.5 * severity, 1.05
    if "HYPOK" in causes:
        state.t = state.t * (0.45 - 0.4 * severity)
        state.st = state.st + aim(
            -directions * (heart.LEFT * heart.STRENGTHS)[:, None], ("II", "V4", "V5"), -0.05 - 0.08 * severity
        )
        state.u = 0.10 + 0.12 * severity
    if "HYPERCA" in causes:
        state.rise = 1.0
    if "UW" in causes:
        state.u = float(rng.uniform(0.07, 0.14))
    if "LVOLT" in causes:
        state.t = state.t * 0.5
    return state


def _infarct(
    rng: np.random.Generator, state: Recovery, territory: str, stage: str, severity: float, directions: np.ndarray, aim: Aim
) -> None:
    """Acute: ST rises over the territory (and falls opposite to it); recent: T turns over; old: little is left."""
    share = heart.share_of(territory)[:, None]
    leads = heart.TERRITORY_LEADS[territory]
    if stage == "acute":
        # V2 and V3 have to rise twice as far as others to be called raised.
        target = (1.5 if "V3" in leads else 1.0) * rng.uniform(0.16, 0.24 + 0.40 * severity)
        state.slope = rng.uniform(0.0, 0.5)
        state.st = state.st + aim(directions * share, leads, -target if territory == "posterior" else target)
        state.t = state.t * (1 + share * rng.uniform(-0.6, 1.3))
    elif stage == "recent":
        sign = 1 if territory == "posterior" else -1
        state.t = state.t * (1 - 0.9 * share) + aim(
            -directions * share, leads, sign * rng.uniform(0.10, 0.18 + 0.40 * severity)
        )
        state.st = state.st + aim(directions * share, leads, -sign * rng.uniform(0.0, 0.09))
        state.rise = 1.15
    else:
        state.t = state.t * (1 - share * rng.uniform(0.0, 0.9))


def _ischaemia(
    rng: np.random.Generator, state: Recovery, territory: str, severity: float, directions: np.ndarray, aim: Aim
) -> None:
    """Inverted T waves, a lowered ST segment, or both."""
    share = heart.share_of(territory)[:, None]
    leads = heart.TERRITORY_LEADS[territory]
    form = rng.choice(["t", "st", "both"], p=[0.45, 0.25, 0.30])
    if form != "st":
        target = -rng.uniform(0.12, 0.20 + 0.55 * severity)
        state.t = state.t * (1 - 0.9 * share) + aim(-directions * share, leads, target)
        state.rise = 1.2
    else:
        state.t = state.t * (1 - rng.uniform(0.4, 1.1) * share)
    if form != "t":
        state.st = state.st + aim(-directions * share, leads, -rng.uniform(0.10, 0.15 + 0.12 * severity))
        state.sagging = bool(rng.random() < 0.4)
