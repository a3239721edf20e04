"""What a synthetic record shows: the classes, how often they occur, and which of them exclude each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

CLASSES = {
    "SR": "sinus rhythm, 60 to 100 beats per minute",
    "BRADY": "sinus bradycardia, below 60 beats per minute",
    "TACHY": "sinus tachycardia, above 100 beats per minute",
    "AFIB": "atrial fibrillation",
    "AFLT": "atrial flutter",
    "PACED": "ventricular pacing",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "LVH": "left ventricular hypertrophy",
    "STE": "ST elevation, anterior or inferior",
    "STD": "ST depression that is not reciprocal to an elevation",
    "TINV": "T wave inversion that is not secondary to a wide QRS complex",
    "LOWV": "low QRS voltage in the limb leads",
    "AVB1": "first-degree atrioventricular block",
    "PVC": "premature ventricular complexes",
    "PAC": "premature atrial complexes",
}
SINUS = frozenset({"SR", "BRADY", "TACHY"})

# Shares before exclusion. What the heart keeps (a block, a pacemaker, a thick wall) belongs to the subject.
CHRONIC = {"PACED": 0.046, "AFIB": 0.085, "LBBB": 0.044, "RBBB": 0.065, "LVH": 0.075, "LOWV": 0.040, "AVB1": 0.065}
EPISODIC = {"AFLT": 0.030, "STE": 0.050, "STD": 0.050, "TINV": 0.075, "PVC": 0.075, "PAC": 0.060}
TACHY_SHARE, BRADY_SHARE = 0.11, 0.16
MINOR = {
    "sinus_arrhythmia": 0.04,
    "long_qt": 0.05,
    "atrial_abnormality": 0.04,
    "flat_t": 0.07,
    "inferior_q": 0.05,
    "poor_r": 0.05,
    "conduction_delay": 0.035,
    "short_pr": 0.02,
}

_WIDE = {"PACED", "LBBB", "RBBB"}
_ST_T = {"STE", "STD", "TINV"}
# Pairs that contradict each other, or of which one hides the other in the signal.
EXCLUDED_BY = {
    "LBBB": {"PACED"},
    "RBBB": {"PACED", "LBBB"},
    "LVH": _WIDE,
    "LOWV": {"PACED", "LBBB", "LVH", "AFLT"},
    "STE": _WIDE | {"LVH", "LOWV", "AFLT"},
    "STD": _WIDE | {"LOWV", "STE", "AFLT"},
    "TINV": _WIDE | {"LOWV", "STE", "AFLT"},
    "AVB1": {"PACED", "AFIB", "AFLT", "TACHY"},
    "PVC": {"PACED", "AFLT"},
    "PAC": {"PACED", "AFIB", "AFLT"},
    "sinus_arrhythmia": {"PACED", "AFIB", "AFLT", "TACHY", "PVC", "PAC"},
    "long_qt": _WIDE | _ST_T | {"AFIB", "AFLT", "TACHY"},
    "atrial_abnormality": {"PACED", "AFIB", "AFLT", "AVB1"},
    "flat_t": _WIDE | _ST_T | {"LOWV", "LVH", "AFLT"},
    "inferior_q": _WIDE | {"LVH", "LOWV", "AFLT"},
    "poor_r": _WIDE | {"LVH", "LOWV", "AFLT", "inferior_q"},
    "conduction_delay": _WIDE | {"LVH"},
    "short_pr": {"PACED", "AFIB", "AFLT", "AVB1", "atrial_abnormality"},
}
_TERRITORIES = {
    "STE": (("anterior", 0.5), ("inferior", 0.5)),
    "STD": (("lateral", 0.4), ("anterolateral", 0.35), ("inferolateral", 0.25)),
    "TINV": (("anterior", 0.4), ("lateral", 0.35), ("inferior", 0.25)),
}


@dataclass(frozen=True)
class Findings:
    """What one record shows.

    ``labels`` are codes of ``CLASSES``, exactly one of them a rhythm; ``minor`` are unlabelled deviations that only the
    report names; ``territory`` says where ST and T findings lie; ``rate`` is ventricular, in beats per minute;
    ``conduction`` is the flutter's atrial-to-ventricular ratio (0 otherwise).
    """

    rhythm: str
    rate: float
    labels: frozenset
    minor: frozenset = frozenset()
    territory: dict = field(default_factory=dict)
    conduction: int = 0
    strain: bool = False


def draw_chronic(rng: np.random.Generator, burden: float) -> frozenset:
    """The classes that a subject shows in most of their records."""
    return frozenset(code for code, share in CHRONIC.items() if rng.random() < share * burden)


def draw_findings(rng: np.random.Generator, chronic: frozenset, burden: float) -> Findings:
    """Draw one record's findings for a subject with ``chronic`` classes; ``burden`` scales all shares (mean 1)."""
    chance = dict(zip([*EPISODIC, *MINOR], rng.random(len(EPISODIC) + len(MINOR))))
    wanted = {code for code in CHRONIC if code in chronic and rng.random() < 0.92}
    wanted |= {code for code, share in {**EPISODIC, **MINOR}.items() if chance[code] < share * burden}

    rhythm: str | None = next((code for code in ("PACED", "AFIB", "AFLT") if code in wanted), None)
    if rhythm is None:
        draw = rng.random()
        rhythm = "TACHY" if draw < TACHY_SHARE else "BRADY" if draw < TACHY_SHARE + BRADY_SHARE else "SR"
    present: set[str] = {rhythm}
    for code in EXCLUDED_BY:
        if code in wanted and not present & EXCLUDED_BY[code]:
            present.add(code)
    # Strain is what LVH does to ST and T; both are visible, so both are labelled.
    strain = "LVH" in present and not present & (_ST_T | {"AFLT"}) and rng.random() < 0.35
    territory = {code: _choose(rng, _TERRITORIES[code]) for code in ("STE", "STD", "TINV") if code in present}
    if strain:
        present |= {"STD", "TINV"}
        territory = {"STD": "lateral", "TINV": "lateral"}
    conduction = _choose(rng, ((2, 0.5), (3, 0.12), (4, 0.38))) if rhythm == "AFLT" else 0
    rate = _draw_rate(rng, rhythm, conduction, present)
    labels = frozenset(present & CLASSES.keys())
    return Findings(rhythm, rate, labels, frozenset(present - labels), territory, conduction, strain)


def _draw_rate(rng: np.random.Generator, rhythm: str, conduction: int, present: set) -> float:
    if rhythm == "SR":
        return float(np.clip(rng.normal(77, 11), 61, 99))
    if rhythm == "BRADY":
        return float(np.clip(59 - rng.gamma(2.0, 3.0), 38, 59))
    if rhythm == "TACHY":
        # A premature beat has to fit between two others.
        return float(min(101.5 + rng.gamma(1.6, 9.0), 112 if present & {"PVC", "PAC"} else 150))
    if rhythm == "AFIB":
        return float(np.clip(rng.lognormal(np.log(88), 0.28), 48, 155))
    if rhythm == "AFLT":
        return float(np.clip(rng.normal(296, 16), 255, 340)) / conduction
    return float(rng.uniform(59, 85))


def _choose(rng: np.random.Generator, options: tuple) -> Any:
    shares = np.cumsum([share for _, share in options])
    return options[min(int(np.searchsorted(shares, rng.random())), len(options) - 1)][0]
