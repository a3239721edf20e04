"""The people behind the records: who has how many, and what stays the same from one to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.synthetic_ecg.physiology import heart
from preprocess.synthetic_ecg.physiology.findings import draw_chronic
from preprocess.synthetic_ecg.physiology.torso import DOWER, ELECTRODES, LIMBS

# First words of every random stream's key, so that no two streams of one seed coincide.
COHORT_STREAM, SUBJECT_STREAM, RECORD_STREAM, SIGNAL_STREAM, REPORT_STREAM, EJECTION_STREAM, ECHO_STREAM = range(7)


@dataclass(frozen=True)
class Subject:
    """Lasting traits: person, chronic findings, geometry of heart and chest, wave durations (seconds) and strengths."""

    chronic: frozenset
    burden: float
    age: int
    sex: str  # "F" or "M"
    electrodes: np.ndarray  # [6, 3] cm, V1 … V6
    limbs: np.ndarray  # [2, 3] leads I and II from the heart vector
    rotation: np.ndarray  # [3, 3] turns the ventricles to the position of the heart
    wave_rotation: np.ndarray  # [3, 3] the same for P, which varies less
    position: np.ndarray  # [3] cm, the heart's centre
    times: np.ndarray  # [23] s, what segments are late by
    walls: np.ndarray  # [23] strengths of QRS relative to an ordinary heart
    t_walls: np.ndarray  # [23] the same of T
    qrs_duration: float
    pr_interval: float
    qt_corrected: float
    strength: float
    p_strength: float
    t_strength: float
    variability: float  # standard deviation of sinus intervals at 60 beats a minute, s
    rate: float  # at rest, beats a minute
    focus: np.ndarray  # [3] cm, where premature ventricular complexes arise


def draw_subject(seed: int, index: int) -> Subject:
    """Subject ``index`` of the cohort with this seed, whatever the size of the cohort."""
    rng = np.random.default_rng([seed, SUBJECT_STREAM, index])
    age = int(np.clip(rng.normal(61, 18), 18, 95))
    male = bool(rng.random() < 0.52)
    burden = float(min(0.85 * rng.gamma(1.1, 1 / 1.1), 3.5) * np.clip(np.exp((age - 63) / 26), 0.3, 1.9))
    chronic = draw_chronic(rng, burden, age)
    size = float(np.exp(rng.normal(0.03 if male else -0.03, 0.06)))  # of the chest
    fat = float(rng.gamma(2.0, 0.5))  # between heart and electrodes, cm
    young = np.clip((45 - age) / 25, 0, 1)
    # Hearts lie more level with age and weight; a thick left ventricle turns the axis to the left.
    frontal = rng.normal(11 - 0.42 * (age - 45) - 5 * (fat - 1), 23)
    if "LVH" in chronic:
        frontal = min(frontal, 10) - abs(rng.normal(5, 8))
    horizontal = rng.normal(0, 12)
    electrodes = size * ELECTRODES * (1 + 0.4 * (fat - 1) / np.linalg.norm(ELECTRODES, axis=1))[:, None]
    # Put on too high or too low, all of them or one; women's breasts push V4 to V6 about.
    electrodes = electrodes + np.array([0.0, rng.normal(0, 0.9), 0.0]) + rng.normal(0, 0.45, size=(6, 3))
    electrodes[3:, 1] += 0 if male else rng.normal(0.4, 0.7)
    limbs = DOWER[:LIMBS] * rng.lognormal(-0.15 - 0.03 * (fat - 1), 0.09, size=(LIMBS, 1)) + rng.normal(
        0, 0.035, size=(LIMBS, 3)
    )
    strength = rng.lognormal(0.12 if male else 0.0, 0.20) * (1 + 0.22 * young)
    return Subject(
        chronic=chronic,
        burden=burden,
        age=age,
        sex="M" if male else "F",
        electrodes=electrodes,
        limbs=limbs,
        rotation=rotation(np.radians(frontal), np.radians(horizontal)),
        wave_rotation=rotation(np.radians(0.35 * np.clip(frontal, -40, 40)), np.radians(0.5 * horizontal)),
        position=rng.normal(0, (0.6, 0.8, 0.6)),
        times=rng.normal(0, 0.0018, size=len(heart.NAMES)),
        walls=rng.lognormal(0, 0.16, size=len(heart.NAMES)),
        t_walls=rng.lognormal(0, 0.22, size=len(heart.NAMES)),
        qrs_duration=float(np.clip(rng.normal(0.089 if male else 0.083, 0.007), 0.070, 0.108)),
        pr_interval=float(np.clip(rng.normal(0.157 + 0.0003 * (age - 40), 0.020), 0.116, 0.196)),
        qt_corrected=float(np.clip(rng.normal(0.397 if male else 0.407, 0.015), 0.365, 0.445 if male else 0.455)),
        strength=float(strength),
        p_strength=float(rng.lognormal(0.06, 0.30)),
        t_strength=float(rng.lognormal(0.06 if male else -0.06, 0.27) * (1 + 0.25 * young * male)),
        variability=float(np.clip(rng.lognormal(np.log(0.034) - 0.016 * (age - 45), 0.55), 0.005, 0.16)),
        rate=float(np.clip(rng.normal(72, 10), 46, 105)),
        focus=_FOCI[rng.integers(len(_FOCI))] + rng.normal(0, 0.5, size=3),
    )


def rotation(frontal: float, horizontal: float) -> np.ndarray:
    """``[3, 3]``: by ``frontal`` radians about z (positive: towards the feet), then by ``horizontal`` about y."""
    c, s = np.cos(frontal), np.sin(frontal)
    turn_frontal = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(horizontal), np.sin(horizontal)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) @ turn_frontal


# Where premature ventricular complexes arise: the outflow tract of the right ventricle most often.
_FOCI = heart.PLACES[
    [
        heart.NAMES.index(name)
        for name in (
            *("right outflow", "right outflow", "right outflow", "right apical", "right free", "basal anterior"),
            *("mid inferior", "mid inferolateral", "basal inferolateral", "apical septal", "mid anterolateral"),
        )
    ]
]


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
