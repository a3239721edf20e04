"""The ventricles as the leads see them: turned, thickened and scarred until the complex meets the criteria of their causes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from preprocess.synthetic_ecg.physiology import heart
from preprocess.synthetic_ecg.physiology.conduction import Activation
from preprocess.synthetic_ecg.physiology.findings import INFARCTS, Findings
from preprocess.synthetic_ecg.physiology.leads import INDEPENDENT_TO_TWELVE, MIMIC_LEADS, frontal_axis
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
SCAR = (0.020, 0.0115)  # middle and standard deviation of what a scar takes from the beginning of the complex, s
_AXES = {"LAFB": (-74, -47), "LAD": (-52, -33), "LPFB": (95, 120), "RAD": (93, 112), "RVH": (97, 140)}


@dataclass
class Seen:
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

    def scaled(self, factor: float) -> Seen:
        """The same, all of the complex larger or smaller by a factor."""
        larger = {name: factor * getattr(self, name) for name in ("vectors", "areas", "scars", "overall")}
        return replace(self, **larger)


def segment_leads(subject: Subject, turn: np.ndarray, deeper: float = 0.0) -> np.ndarray:
    """``[23, 8, 3]``: the independent leads of each segment."""
    places = heart.PLACES @ turn.T + subject.position + np.array([0.0, deeper, 0.3 * deeper])
    return lead_field(places, subject.electrodes, subject.limbs)


def shown(rng: np.random.Generator, findings: Findings, subject: Subject, activation: Activation) -> tuple[Seen, float]:
    """The complex that meets the criteria of the causes, or after a few steps comes near to them, and how large its scars are
    (0 = none)."""
    search = _Search(rng, findings, subject, activation)
    for _ in range(_STEPS):
        seen = search.seen()
        found = _Complex(template(seen))
        # Each in every step, for they act upon each other.
        if not any([search.voltages(found), search.strengths(found), search.axis(found), search.transition(found)]):
            break
    return seen.scaled(search.within_limits(found)), search.necrosis


class _Complex:
    """What criteria are about: ``qrs`` ``[12, 50]`` mV, every 4 ms, and of it ``high`` and ``deep`` ``[12]``."""

    def __init__(self, qrs: np.ndarray):
        self.qrs = qrs
        self.high, self.deep = qrs.max(axis=1), qrs.min(axis=1)
        self.sokolow = max(self.high[_ROW["V5"]], self.high[_ROW["V6"]]) - self.deep[_ROW["V1"]]
        self.cornell = self.high[_ROW["aVL"]] - self.deep[_ROW["V3"]]
        self.limb, self.chest = (self.high - self.deep)[:6].max(), (self.high - self.deep)[6:].max()

    @property
    def second_r(self) -> float:
        """mV, the highest point of V1 after its deepest."""
        v1 = self.qrs[_ROW["V1"]]
        return float(v1[v1.argmin() :].max())


class _Search:
    """The heart of one record: what is drawn once, and what each step changes. Methods that step return whether they did."""

    def __init__(self, rng: np.random.Generator, findings: Findings, subject: Subject, activation: Activation):
        self.rng, self.findings, self.subject, self.activation = rng, findings, subject, activation
        self.causes = causes = findings.causes
        self.walls = np.ones(len(heart.NAMES))
        shares = [heart.share_of(INFARCTS[code]) for code in findings.stages]
        self.lost = np.max([np.zeros(len(self.walls)), *shares], axis=0)
        acute = bool(shares) and all(stage == "acute" for stage in findings.stages.values())
        self.necrosis = 0.0 if not shares else rng.uniform(0.05, 0.4) if acute else rng.uniform(0.1, 0.65)
        self.kept = 1 - self.lost * (rng.uniform(0.2, 0.5) if acute else rng.uniform(0.2, 0.75))
        wanted = next((_AXES[code] for code in _AXES if code in causes), None)
        self.wanted_axis = rng.uniform(*wanted) if wanted else None
        self.wanted_sokolow = rng.uniform(3.6, 4.9)
        self.by_cornell = "LVH" in causes and rng.random() < 0.3
        self.low = rng.uniform(0.28, 0.46)
        self.doubtful = rng.random() < 0.12  # an infarct that little is left of
        self.spare = 30.0 if shares else 0.0  # degrees that a scarred heart may still be turned by
        self.farthest = _FARTHEST_LATE if causes & {"LAFB", "LPFB", "LAD", "RAD"} else _FARTHEST
        self.tallest = rng.uniform(*(_TALLEST_BLOCKED if "CLBBB" in causes else _TALLEST))
        self.wanted_r_prime = rng.uniform(*_R_PRIME)
        self.overall, self.frontal, self.sideways = 1.0, 0.0, 0.0

    def seen(self) -> Seen:
        """The present heart in the body."""
        turn, astray = _turned(self.subject, self.frontal, self.sideways, self.farthest)
        field = INDEPENDENT_TO_TWELVE @ segment_leads(self.subject, turn)
        vectors = led_astray(self.activation, self.activation.vectors @ turn.T, astray)
        if self.causes & {"CRBBB", "IRBBB"}:  # the axis is the left ventricle's: the late right one stays in front
            vectors = np.where(heart.LEFT[:, None], vectors, self.activation.vectors @ self.subject.rotation.T)
        vectors = vectors * (self.overall * self.walls * self.kept)[:, None]
        scars = -(heart.DIRECTIONS @ turn.T) * (self.overall * self.necrosis * self.lost * heart.STRENGTHS)[:, None]
        areas = vectors * area_factor(self.activation)
        return Seen(turn, field, vectors, areas, scars, self.activation, self.overall, astray)

    def voltages(self, found: _Complex) -> bool:
        """High, low or neither."""
        man = self.subject.sex == "M"
        if "LVH" in self.causes:
            by_sokolow = self.wanted_sokolow / max(found.sokolow, 0.3)
            needed = (2.95 if man else 2.15) / max(found.cornell, 0.3) if self.by_cornell else by_sokolow
            # Where the R of aVL does not grow with the wall, or the chest leads are high already, more of it meets nothing.
            needed = min(needed, 1.6, self.tallest / found.chest)
            if needed <= 1.01:
                return False
            self.walls = np.where(heart.LEFT, self.walls * needed, self.walls)
            return True
        if "LVOLT" in self.causes:
            self.overall *= self.low / found.limb
            return abs(found.limb / self.low - 1) > 0.08
        if "HVOLT" in self.causes:
            self.overall *= max(1.0, self.wanted_sokolow / found.sokolow)
            return found.sokolow < 3.5
        worst = max(found.sokolow / 3.45, found.cornell / (2.7 if man else 1.9))
        if worst > 1 and not self.causes & {"WPW", "CLBBB"}:
            self.overall = self.overall * self.rng.uniform(0.80, 0.98) / worst
            return True
        if found.limb < 0.55:
            self.overall = self.overall * self.rng.uniform(0.57, 0.8) / found.limb
            return True
        return False

    def strengths(self, found: _Complex) -> bool:
        """The right ventricle, where it is thick or late, and scars."""
        before, scarred = self.walls, self.necrosis
        v1 = _ROW["V1"]
        if "RVH" in self.causes and found.high[v1] < 0.72:
            self.walls = np.where(heart.LEFT, 0.93 * self.walls, 1.3 * self.walls)
        if 0 < self.necrosis < 2.4 and not self.doubtful and _too_small(self.findings, found):
            self.necrosis *= 1.4
        if "CRBBB" in self.causes and found.qrs[v1, 18:].max() < max(0.25, found.high[v1] - 0.02):
            self.walls = np.where(heart.LEFT, self.walls, 1.35 * self.walls)
        if "IRBBB" in self.causes and found.second_r < self.wanted_r_prime:
            self.walls = np.where(heart.LEFT, self.walls, (1.7 if found.second_r < 0.02 else 1.25) * self.walls)
        return self.walls is not before or self.necrosis != scarred

    def axis(self, found: _Complex) -> bool:
        """In the frontal plane."""
        # Where the right ventricle is late the axis is that of the left one.
        part = found.qrs[:, :20] if "CRBBB" in self.causes else found.qrs
        axis = frontal_axis(part[0].sum(), (part[1] + part[2]).sum() / 2)
        goal = _axis_goal(self.rng, self.causes, axis, self.wanted_axis)
        if goal is not None:
            self.frontal = self.frontal + np.clip(0.9 * ((goal - axis + 180) % 360 - 180), -40, 40)
        elif self.spare and not -45 < axis < 90:
            back = float(np.clip((-20 if axis < 0 else 70) - axis, -self.spare, self.spare))
            self.frontal, self.spare = self.frontal + back, self.spare - abs(back)
        else:
            return False
        return True

    def transition(self, found: _Complex) -> bool:
        """Of R and S in the chest leads."""
        step = _transition(self.causes, found.high, found.deep)
        if not step or abs(self.sideways + step) >= _FARTHEST:
            return False
        self.sideways += step
        return True

    def within_limits(self, found: _Complex) -> float:
        """A factor, at most 1, for all of the complex."""
        return min(1.0, self.tallest / max(found.chest, found.cornell, 0.85 * found.sokolow))


def _turned(subject: Subject, frontal: float, sideways: float, farthest: float) -> tuple[np.ndarray, float]:
    """The heart ``[3, 3]``, turned in the frontal plane by ``farthest`` degrees at most, and how many of ``frontal`` are
    left."""
    most = min(farthest, np.sqrt(_FARTHEST**2 - sideways**2))
    turned = float(np.clip(frontal, -most, most))
    return rotation(np.radians(turned), np.radians(sideways)) @ subject.rotation, float(frontal - turned)


def led_astray(activation: Activation, vectors: np.ndarray, degrees: float) -> np.ndarray:
    """``vectors`` of which the late ones point elsewhere in the frontal plane: what reaches a wall by way of another fascicle
    crosses it at a slant. The beginning of the complex is as ever, and so are places, territories, ST and T."""
    first, whole = (share * activation.duration for share in _FASCICLES)
    angle = np.radians(degrees) * np.clip((activation.times - first) / (whole - first), 0, 1)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * vectors[:, 0] - s * vectors[:, 1], s * vectors[:, 0] + c * vectors[:, 1], vectors[:, 2]], axis=1)


def area_factor(activation: Activation) -> np.ndarray:
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


def _too_small(findings: Findings, found: _Complex) -> bool:
    """Whether an infarct has left no Q waves, or next to no R waves, in two leads of its territory."""
    for code, stage in findings.stages.items():
        if stage == "acute" or code == "PMI":
            continue
        count = 0
        for name in heart.TERRITORY_LEADS[INFARCTS[code]]:
            lead = found.qrs[_ROW[name]]
            q = lead[: lead.argmax() + 1].min() if found.high[_ROW[name]] > 0.05 else found.deep[_ROW[name]]
            first = lead[:6].max() < 0.06
            count += (q < -max(0.09, 0.18 * found.high[_ROW[name]]) and first) or 0.0 < found.high[_ROW[name]] < 0.2
        if count < 2:
            return True
    return False


def template(seen: Seen) -> np.ndarray:
    """The complex alone, ``[12, 50]`` mV, every 4 ms."""
    activation = seen.activation
    shape = np.exp(-0.5 * ((_TIME - activation.times[:, None]) / activation.widths[:, None]) ** 2)
    twelve = np.einsum("klc,kc->lk", seen.field, seen.vectors) @ shape
    centre, width = SCAR
    twelve += np.einsum("klc,kc->l", seen.field, seen.scars)[:, None] * np.exp(-0.5 * ((_TIME - centre) / width) ** 2)
    return twelve
