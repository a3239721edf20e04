"""The people behind the records: who has how many, and what stays the same from one to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.synthetic_ecg.findings import draw_chronic
from preprocess.synthetic_ecg.leads import DOWER

# First words of every random stream's key, so that no two streams of one seed coincide.
COHORT_STREAM, SUBJECT_STREAM, RECORD_STREAM, SIGNAL_STREAM, REPORT_STREAM, EJECTION_STREAM, ECHO_STREAM = range(7)


@dataclass(frozen=True)
class Subject:
    """Lasting traits: chronic findings, geometry of heart and chest, wave durations (seconds) and strengths."""

    chronic: frozenset
    burden: float
    matrix: np.ndarray  # [8, 3] independent leads from the heart vector, with this subject's electrode positions
    rotation: np.ndarray  # [3, 3] turns the QRS vector to the position of the heart
    wave_rotation: np.ndarray  # [3, 3] the same for P and T, which vary less: an odd axis does not invert them
    qrs_duration: float
    pr_interval: float
    qt_corrected: float
    strength: float
    p_strength: float
    t_strength: float
    ectopic: np.ndarray  # [3] unit direction of this subject's premature ventricular complexes


def draw_subject(seed: int, index: int) -> Subject:
    """Subject ``index`` of the cohort with this seed, whatever the size of the cohort."""
    rng = np.random.default_rng([seed, SUBJECT_STREAM, index])
    burden = float(min(rng.gamma(1.2, 1 / 1.2), 3.5))
    chronic = draw_chronic(rng, burden)
    if "LVH" in chronic:  # a thick left ventricle turns the axis to the left
        frontal = np.radians(-abs(rng.normal(20, 14)))
    else:
        frontal = np.radians(rng.normal(0, 20) + (rng.uniform(-85, -60) if rng.random() < 0.05 else 0))
    horizontal = np.radians(rng.normal(0, 12))
    matrix = DOWER * rng.lognormal(0, 0.13, size=(8, 1)) + rng.normal(0, 0.04, size=(8, 3))
    ectopic = _ECTOPIC_DIRECTIONS[rng.integers(len(_ECTOPIC_DIRECTIONS))] + rng.normal(0, 0.15, size=3)
    return Subject(
        chronic=chronic,
        burden=burden,
        matrix=matrix,
        rotation=rotation(frontal, horizontal),
        wave_rotation=rotation(0.5 * np.clip(frontal, -0.5, 0.5), 0.5 * horizontal),
        qrs_duration=float(np.clip(rng.normal(0.091, 0.007), 0.076, 0.108)),
        pr_interval=float(np.clip(rng.normal(0.160, 0.018), 0.124, 0.194)),
        qt_corrected=float(np.clip(rng.normal(0.410, 0.016), 0.370, 0.448)),
        strength=float(rng.lognormal(0, 0.22)),
        p_strength=float(rng.lognormal(0, 0.28)),
        t_strength=float(rng.lognormal(-0.05, 0.32)),
        ectopic=ectopic / np.linalg.norm(ectopic),
    )


def rotation(frontal: float, horizontal: float) -> np.ndarray:
    """``[3, 3]``: by ``frontal`` radians about z (positive: towards the feet), then by ``horizontal`` about y."""
    c, s = np.cos(frontal), np.sin(frontal)
    turn_frontal = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(horizontal), np.sin(horizontal)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) @ turn_frontal


# Outflow tract, right ventricular apex, left ventricular free wall, left ventricular base.
_ECTOPIC_DIRECTIONS = np.array([[0.2, 1.0, 0.6], [0.6, -0.8, 0.6], [-0.8, -0.5, -0.6], [-0.5, 0.8, -0.6]])


@dataclass(frozen=True)
class Cohort:
    """Identifiers of every record, grouped by subject: all arrays ``[records]``."""

    subject: np.ndarray  # index of the subject, 0 … subjects − 1
    subject_id: np.ndarray  # eight digits, 1…
    study_id: np.ndarray  # eight digits, 4…
    time: np.ndarray  # datetime64[s], increasing within a subject


def draw_cohort(seed: int, records: int, subjects: int) -> Cohort:
    """Share ``records`` among ``subjects``: each has one, a few have many (Pareto weights, as hospital visits have).

    Raises:
        ValueError: not 1 <= subjects <= records.
    """
    if not 1 <= subjects <= records:
        raise ValueError(f"{subjects} subjects cannot share {records} records")
    rng = np.random.default_rng([seed, COHORT_STREAM])
    weights = 1 + np.minimum(rng.pareto(1.6, size=subjects), 15)
    counts = 1 + rng.multinomial(records - subjects, weights / weights.sum())
    subject = np.repeat(np.arange(subjects), counts)
    # As in the real data the dates are shifted into the future and say nothing about anybody.
    first = np.datetime64("2110-01-01T00:00:00") + rng.integers(0, 90 * 365 * 86400, size=subjects)
    gaps = rng.exponential(120 * 86400, size=records).astype(np.int64) // 60 * 60 + 60
    elapsed = np.cumsum(gaps)
    elapsed -= np.repeat(elapsed[np.cumsum(counts) - counts], counts)
    return Cohort(
        subject=subject,
        subject_id=10_000_000 + np.sort(rng.choice(10_000_000, size=subjects, replace=False))[subject],
        study_id=40_000_000 + rng.choice(10_000_000, size=records, replace=False),
        time=first[subject].astype("datetime64[m]").astype("datetime64[s]") + elapsed,
    )
