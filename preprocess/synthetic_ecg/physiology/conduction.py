"""How the activation runs through the ventricles: in time, by way of a blocked bundle, past the node, or from one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.synthetic_ecg.physiology import heart
from preprocess.synthetic_ecg.physiology.findings import Findings
from preprocess.synthetic_ecg.physiology.subjects import Subject

_NORMAL = (0.070, 0.110)  # s


@dataclass(frozen=True)
class Activation:
    """Per segment: middle of its activation (s from the onset), standard deviation in time (s), vector (mV, the heart's
    axes)."""

    times: np.ndarray
    widths: np.ndarray
    vectors: np.ndarray
    duration: float

    @property
    def areas(self) -> np.ndarray:
        """mV s ``[23, 3]``."""
        return self.vectors * (np.sqrt(2 * np.pi) * self.widths)[:, None]


def qrs_duration(rng: np.random.Generator, findings: Findings, subject: Subject) -> float:
    """Seconds; 120 ms and more exactly where a complete block, a pacemaker or a place in the ventricles leads."""
    causes = findings.causes
    if "CLBBB" in causes:
        return rng.uniform(0.124, 0.168)
    if "CRBBB" in causes:
        return rng.uniform(0.122, 0.156)
    if "WPW" in causes:
        return rng.uniform(0.108, 0.142)
    if "IVCD" in causes:
        return rng.uniform(0.112, 0.138)
    if "ILBBB" in causes:
        return rng.uniform(0.106, 0.118)
    if "IRBBB" in causes:
        return rng.uniform(0.096, 0.117)
    duration = subject.qrs_duration + rng.normal(0, 0.003)
    duration += 0.007 * bool(causes & {"LAFB", "LPFB"}) + 0.006 * bool(causes & {"LVH", "RVH"})
    duration += 0.030 * findings.severity * ("HYPERK" in causes)
    return float(np.clip(duration, _NORMAL[0], 0.118 if "HYPERK" in causes else _NORMAL[1]))


def activate(rng: np.random.Generator, findings: Findings, subject: Subject, duration: float) -> Activation:
    """A conducted beat that lasts ``duration`` seconds."""
    causes = findings.causes
    times = heart.TIMES + subject.times
    directions = heart.DIRECTIONS.copy()
    strengths = heart.STRENGTHS * subject.walls * subject.strength
    widths = np.full(len(times), heart.WIDTH)
    front = heart.segments("anterior", "anterolateral", "apical lateral") & ~heart.SEPTUM
    back = heart.segments("inferior", "inferolateral") & ~heart.SEPTUM & heart.LEFT
    base = np.where(heart.segments("basal"), 1.0, np.where(heart.segments("mid"), 0.8, 0.45))
    # An axis that deviates without a block is, for the most part, a fascicle that is slow.
    for block, deviation, late, early in (("LAFB", "LAD", front, back), ("LPFB", "RAD", back, front)):
        if causes & {block, deviation}:
            delay = rng.uniform(0.024, 0.036) if block in causes else rng.uniform(0.016, 0.026)
            times = times + np.where(late, delay * base, 0) - np.where(early, 0.006, 0)
    if "SEHYP" in causes:
        strengths = np.where(heart.SEPTUM, strengths * rng.uniform(2.6, 4.0), strengths)
    if "LVH" in causes:
        opposing = 1.0 if causes & {"CRBBB", "IRBBB"} else 0.7
        strengths = np.where(heart.LEFT & ~heart.SEPTUM, strengths * rng.uniform(1.25, 1.6), opposing * strengths)
        widths = np.where(heart.LEFT, widths * 1.12, widths)
        times = times + np.where(heart.LEFT, 0.10 * (times - times.min()), 0)
    if "RVH" in causes:
        strengths = np.where(heart.LEFT, strengths * 0.85, strengths * rng.uniform(3.0, 4.5))
        times = times + np.where(heart.LEFT, 0, 0.010)
        widths = np.where(heart.LEFT, widths, widths * 1.2)
    if "IVCD" in causes:
        times = times + rng.normal(0, 0.007, size=len(times))
    if "CLBBB" in causes or "ILBBB" in causes:
        times, directions, strengths, widths = _left_block(rng, times, directions, strengths, widths, "CLBBB" in causes)
    if "CRBBB" in causes or "IRBBB" in causes:
        return _right_block(rng, times, directions, strengths, widths, duration, "CRBBB" in causes)
    if "WPW" in causes:
        times, directions, widths = _preexcited(rng, times, directions, widths)
    return _lasting(times, widths, directions * strengths[:, None], duration)


def activate_from(rng: np.random.Generator, subject: Subject, focus: np.ndarray, duration: float) -> Activation:
    """A beat that begins at ``focus`` (cm ``[3]``) and spreads through the muscle."""
    times, along = heart.from_focus(focus, 52.0)
    directions = 0.45 * heart.DIRECTIONS + 0.75 * along
    strengths = heart.STRENGTHS * subject.walls * subject.strength * np.where(heart.SEPTUM, 1.8, 1.0)
    times = times + rng.normal(0, 0.003, size=len(times))
    return _lasting(times, np.full(len(times), 2.0 * heart.WIDTH), directions * strengths[:, None], duration)


def _left_block(
    rng: np.random.Generator, times: np.ndarray, directions: np.ndarray, strengths: np.ndarray, widths: np.ndarray, whole: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From the right through the septum, and on through the muscle of the left ventricle; all of it, or a part of the way."""
    across = -heart.DIRECTIONS[heart.NAMES.index("mid anteroseptal")]
    across = across / np.linalg.norm(across)
    depth = (heart.PLACES - heart.PLACES[heart.SEPTUM].mean(axis=0)) @ across
    late = np.where(heart.SEPTUM, 0.022 + 0.3 * (times - 0.011), np.where(heart.LEFT, 0.036 + 0.0130 * np.maximum(depth, 0), 0))
    late = np.where(heart.LEFT, late, 0.6 * (times - 0.020))
    share = 1.0 if whole else rng.uniform(0.35, 0.5)
    times = (1 - share) * times + share * late
    through = np.where(heart.SEPTUM[:, None], across, 0.65 * directions + 0.55 * across)
    through = np.where(heart.LEFT[:, None], through, directions)
    turned = share if whole else 0.8
    directions = (1 - turned) * directions + turned * through
    strengths = strengths * np.where(heart.SEPTUM, 1 + 2.4 * share, np.where(heart.LEFT, 1 + 0.35 * share, 1.0))
    return times, directions, strengths, np.where(heart.LEFT, widths * (1 + 1.1 * share), widths)


def _right_block(
    rng: np.random.Generator,
    times: np.ndarray,
    directions: np.ndarray,
    strengths: np.ndarray,
    widths: np.ndarray,
    duration: float,
    whole: bool,
) -> Activation:
    """The left ventricle is on time; the right one follows through the septum, slowly where the block is complete."""
    # The end of the complex is the right ventricle's alone, or nothing of it would show.
    alone = 0.088 if whole else min(0.088, 0.80 * duration)
    left = _lasting(times[heart.LEFT], widths[heart.LEFT], directions[heart.LEFT], alone)
    # Through muscle the wall is crossed at one speed, not first and fast where its bundle would end.
    right = np.linspace(0, 1, int((~heart.LEFT).sum()))[times[~heart.LEFT].argsort().argsort()]
    width = heart.WIDTH * (1.55 if whole else 1.15)
    first, last = 0.55 * duration if whole else 0.50 * duration, duration - heart.REACH * width
    if not whole:  # what arrives through the septum is small: all of it has to go one way to be seen
        directions = np.where(heart.LEFT[:, None], directions, 0.45 * directions + 0.55 * heart.RIGHTWARDS)
    times, widths = times.copy(), widths.copy()
    times[heart.LEFT], widths[heart.LEFT] = left.times, left.widths
    times[~heart.LEFT], widths[~heart.LEFT] = first + right * (last - first), width
    strengths = np.where(heart.LEFT, strengths, strengths * (rng.uniform(1.7, 2.7) if whole else rng.uniform(0.6, 1.1)))
    return Activation(times, widths, directions * strengths[:, None], duration)


def _preexcited(
    rng: np.random.Generator, times: np.ndarray, directions: np.ndarray, widths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bridge at the ring reaches the muscle before the node does; the two fronts meet."""
    ring = ("basal anterolateral", "basal inferolateral", "basal inferior", "basal inferoseptal", "right base", "right outflow")
    start = int(rng.choice([heart.NAMES.index(name) for name in ring], p=[0.3, 0.2, 0.1, 0.2, 0.15, 0.05]))
    early, along = heart.from_focus(heart.PLACES[start], 95.0)
    times = times + rng.uniform(0.016, 0.034)
    bridged = early < times
    directions = np.where(bridged[:, None], 0.5 * directions + 0.8 * along, directions)
    # The wall beside the bridge has no way behind it; the front that leaves it points to the apex.
    directions[start] = heart.DIRECTIONS[heart.NAMES.index("apex")] * 1.3
    return np.minimum(early, times), directions, np.where(bridged, 2.2 * widths, 1.15 * widths)


def _lasting(times: np.ndarray, widths: np.ndarray, vectors: np.ndarray, duration: float) -> Activation:
    """Stretch times and widths so that the complex begins at 0 and lasts ``duration``."""
    present = float((times + heart.REACH * widths).max() - (times - heart.REACH * widths).min())
    widths = widths * np.clip((duration / present) ** 0.8, 0.6, 1.8)
    first, last = heart.REACH * widths[times.argmin()], duration - heart.REACH * widths[times.argmax()]
    return Activation(first + (times - times.min()) / np.ptp(times) * (last - first), widths, vectors, duration)
