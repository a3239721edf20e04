"""The waves of one beat as rows (wave, centre, plateau, before, after, vector) for ``Bumps.of``."""

from __future__ import annotations

import numpy as np

from preprocess.synthetic_ecg.bumps import ATRIAL, QRS, ST, Bumps, T
from preprocess.synthetic_ecg.findings import Findings
from preprocess.synthetic_ecg.subjects import Subject

# Rows: centre and width (standard deviation) as shares of the QRS duration, then the vector x, y, z.
_NARROW_QRS = np.array(
    [
        [0.18, 0.070, -0.14, -0.06, -0.26],
        [0.47, 0.110, 1.05, 0.66, 0.28],
        [0.66, 0.090, 0.15, -0.02, 0.70],
        [0.83, 0.068, -0.25, -0.12, 0.24],
    ]
)
_LEFT_BLOCK = np.array(
    [
        [0.20, 0.080, 0.40, 0.25, 0.30],
        [0.42, 0.105, 0.85, 0.30, 0.75],
        [0.68, 0.110, 0.95, 0.20, 0.80],
        [0.84, 0.062, 0.20, 0.00, 0.30],
    ]
)
_RIGHT_BLOCK_END = np.array([[0.74, 0.100, -0.58, -0.05, -0.72]])
_PACED_QRS = np.array(
    [
        [0.24, 0.095, 0.30, -0.55, 0.45],
        [0.48, 0.120, 0.45, -0.95, 0.85],
        [0.72, 0.110, 0.40, -0.70, 0.75],
    ]
)
_ST_VECTORS = {
    ("STE", "anterior"): (0.05, -0.06, -0.26),
    ("STE", "inferior"): (-0.06, 0.24, 0.04),
    ("STD", "lateral"): (-0.17, -0.04, 0.02),
    ("STD", "anterolateral"): (-0.11, -0.03, 0.11),
    ("STD", "inferolateral"): (-0.13, -0.12, 0.02),
}
_T_INVERTED = {
    "anterior": (0.06, 0.14, 0.30),
    "lateral": (-0.30, 0.06, -0.06),
    "inferior": (0.16, -0.30, -0.10),
}
# A focus low in the atria: the P wave of the early beat runs upwards.
ECTOPIC_P = np.array([[0.6, 0.0, 0.0], [0.0, -0.8, 0.0], [0.0, 0.0, 1.0]])


def qrs_duration(rng: np.random.Generator, labels: frozenset, minor: frozenset, subject: Subject) -> float:
    """Seconds; 120 ms and more exactly where a block or a pacemaker is labelled."""
    if "PACED" in labels:
        return rng.uniform(0.145, 0.185)
    if "LBBB" in labels:
        return rng.uniform(0.122, 0.165)
    if "RBBB" in labels:
        return rng.uniform(0.122, 0.152)
    if "conduction_delay" in minor:
        return rng.uniform(0.111, 0.118)
    return float(np.clip(subject.qrs_duration + rng.normal(0, 0.003), 0.074, 0.110))


def atrial_rows(rng: np.random.Generator, findings: Findings, subject: Subject, diastole: float) -> tuple:
    """Rows of the P wave (right atrium, then left), PR interval and P duration.

    ``diastole`` is the time from the end of T to the next complex: a long PR interval still keeps P out of T.
    """
    tracked = findings.rhythm == "PACED" and rng.random() < 0.4
    if findings.rhythm in {"AFIB", "AFLT"} or (findings.rhythm == "PACED" and not tracked):
        return [], 0.0, 0.0
    if "AVB1" in findings.labels:
        pr = rng.uniform(0.205, np.clip(diastole, 0.240, 0.320))
    elif "short_pr" in findings.minor:
        pr = rng.uniform(0.098, 0.112)
    else:
        # Fast rates shorten PR a little.
        pr = min(subject.pr_interval + rng.normal(0, 0.004) - 0.0004 * max(findings.rate - 80, 0), 0.198)
    pr = float(np.clip(pr, 0.098, 0.320))
    large = "atrial_abnormality" in findings.minor
    duration = min(0.122 if large else 0.098, 0.92 * pr)
    strength = subject.p_strength * (1.9 if large else 0.6 if "LOWV" in findings.labels else 1.0)
    right = strength * np.array([0.030, 0.100, -0.040])
    left = strength * np.array([0.070, 0.070, 0.045])
    width = duration / 7
    rows = [
        (ATRIAL, -pr + 0.36 * duration, 0.0, width, width, subject.wave_rotation @ right),
        (ATRIAL, -pr + 0.64 * duration, 0.0, width, width, subject.wave_rotation @ left),
    ]
    return rows, pr, duration


def qrs_rows(rng: np.random.Generator, labels: frozenset, minor: frozenset, duration: float) -> list:
    """Rows of the QRS complex, ``duration`` seconds long, before it is turned to the subject's heart position."""
    if "PACED" in labels:
        table = _PACED_QRS.copy()
    elif "LBBB" in labels:
        table = _LEFT_BLOCK.copy()
    elif "RBBB" in labels:
        # The left ventricle is on time; only the end, rightwards and forwards, comes late.
        start = _NARROW_QRS.copy()
        start[:, :2] *= 0.64
        start[3, 2:] *= 0.3
        table = np.concatenate([start, _RIGHT_BLOCK_END])
    else:
        table = _NARROW_QRS.copy()
    if "inferior_q" in minor:
        table[0] = [0.20, 0.085, 0.12, -0.62, -0.20]
    if "poor_r" in minor:
        table[:2, 4] += [0.30, 0.30]
        table[1, 2] *= 0.8
    table[:, 2:] *= rng.lognormal(0, 0.12, size=(len(table), 1))
    return [(QRS, row[0] * duration, 0.0, row[1] * duration, row[1] * duration, row[2:]) for row in table]


def repolarisation_rows(
    rng: np.random.Generator, findings: Findings, subject: Subject, qrs: list, duration: float, qt: float
) -> list:
    """Rows of the ST segment and the T wave."""
    labels, territory = findings.labels, findings.territory
    area = sum(row[3] * row[5] for row in qrs) / sum(row[3] for row in qrs)
    # Healthy hearts, too, have an ST segment that is not quite level.
    st = np.clip(rng.normal(0, 0.018, size=3), -0.035, 0.035)
    t = subject.wave_rotation @ np.array([0.32, 0.20, -0.13]) * subject.t_strength + rng.normal(0, 0.02, size=3)
    if labels & {"PACED", "LBBB"}:
        # Secondary changes point away from the complex.
        st, t = -0.12 * area, -0.50 * area
    elif "RBBB" in labels:
        t = t + np.array([0.05, 0.0, 0.28])
    elif "LOWV" in labels:
        t = 0.45 * t
    if "flat_t" in findings.minor:
        t = 0.22 * t
    if "TINV" in territory:
        t = np.array(_T_INVERTED[territory["TINV"]]) * rng.uniform(0.5, 1.3)
    for code in ("STE", "STD"):
        if code in territory:
            st = np.array(_ST_VECTORS[code, territory[code]]) * rng.uniform(0.55, 1.5)
            t = t + (0.7 * st if code == "STE" else 0.0)
    scale = qt / 0.4
    after = 0.038 * scale
    start, end = duration + 0.004, max(qt - 4.6 * after, duration + 0.05)
    half = (end - start) / 2
    return [
        (ST, start + half, half, 0.010, 0.045 * scale, st),
        (T, qt - 2.2 * after, 0.0, 1.5 * after, after, t),
    ]


def premature_ventricular(rng: np.random.Generator, subject: Subject, qt: float) -> Bumps:
    """A premature ventricular complex: wide, without P, its T wave opposite to it."""
    duration = rng.uniform(0.125, 0.170)
    vector = subject.ectopic * rng.uniform(0.8, 1.7)
    late = vector + rng.normal(0, 0.25, size=3)
    width = 0.15 * duration
    after = 0.042 * qt / 0.4
    return Bumps.of(
        [
            (QRS, 0.36 * duration, 0.0, width, width, vector),
            (QRS, 0.62 * duration, 0.0, width, width, 0.8 * late),
            (T, qt + 0.02 - 2.2 * after, 0.0, 1.5 * after, after, -0.42 * vector),
        ]
    )
