"""The beats of one record: its waves put together and scaled to what the labels say about voltage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.synthetic_ecg import waves
from preprocess.synthetic_ecg.bumps import ATRIAL, QRS, Bumps, T
from preprocess.synthetic_ecg.findings import Findings
from preprocess.synthetic_ecg.leads import INDEPENDENT_TO_TWELVE, MIMIC_LEADS, frontal_axis
from preprocess.synthetic_ecg.subjects import Subject


@dataclass(frozen=True)
class Beats:
    """The shapes of one record and their intervals in seconds; ``pr_interval`` and ``p_duration`` are 0 without P."""

    normal: Bumps
    premature_ventricular: Bumps
    premature_atrial: Bumps
    pr_interval: float
    p_duration: float
    qrs_duration: float
    qt_interval: float


def draw_beats(rng: np.random.Generator, findings: Findings, subject: Subject) -> Beats:
    """Shapes that show ``findings`` in ``subject``; the vector is already turned to the subject's heart position."""
    labels, minor = findings.labels, findings.minor
    duration = waves.qrs_duration(rng, labels, minor, subject)
    interval = 60 / findings.rate
    corrected = rng.uniform(0.485, 0.540) if "long_qt" in minor else subject.qt_corrected + rng.normal(0, 0.006)
    # Fridericia's cube root; a wide complex lengthens QT by its own excess.
    qt = corrected * np.cbrt(interval) + max(0.0, duration - 0.100)

    atrial, pr, p_duration = waves.atrial_rows(rng, findings, subject, interval - qt)
    qrs = waves.qrs_rows(rng, labels, minor, duration)
    qrs = [row[:5] + (subject.rotation @ row[5],) for row in qrs]
    qrs = _scaled_to_voltage(rng, qrs, labels, duration, subject)
    repolarisation = waves.repolarisation_rows(rng, findings, subject, qrs, duration, qt)
    ectopic_p = [(wave, -0.7 * pr - 0.01, *rest[1:4], 1.1 * (waves.ECTOPIC_P @ rest[4])) for wave, *rest in atrial]
    return Beats(
        normal=Bumps.of(atrial + qrs + repolarisation),
        premature_ventricular=waves.premature_ventricular(rng, subject, qt),
        premature_atrial=Bumps.of(ectopic_p + qrs + repolarisation),
        pr_interval=pr,
        p_duration=p_duration,
        qrs_duration=duration,
        qt_interval=float(qt),
    )


def _scaled_to_voltage(rng: np.random.Generator, qrs: list, labels: frozenset, duration: float, subject: Subject) -> list:
    """Scale the complex so that voltage criteria hold exactly when the label says so.

    LVH: S in V1 plus R in V5 or V6 above 3.5 mV (Sokolow and Lyon 1949). Low voltage: no limb lead above 0.5 mV.
    """
    gain = np.full(3, subject.strength * rng.lognormal(0, 0.05))
    most, least = rng.uniform(2.5, 3.35), rng.uniform(0.56, 0.80)
    for _ in range(3):  # not linear: the lead that decides may change
        high, low = _extremes(qrs, gain, duration, subject)
        limb = float((high - low)[:6].max())
        sokolow = float(max(high[MIMIC_LEADS.index("V5")], high[MIMIC_LEADS.index("V6")]))
        sokolow -= float(low[MIMIC_LEADS.index("V1")])
        if "LVH" in labels:
            target = float(np.clip(4.2 * subject.strength, 3.65, 5.6))
            gain *= np.array([target / sokolow, max(1.0, 0.5 * target / sokolow), target / sokolow])
        elif "LOWV" in labels:
            gain *= float(np.clip(0.40 * subject.strength, 0.26, 0.46)) / limb
        else:
            gain *= min(1.0, most / max(sokolow, 1e-9))
            limb *= min(1.0, most / max(sokolow, 1e-9))
            if limb < 0.55:
                gain *= least / limb
    return [row[:5] + (row[5] * gain,) for row in qrs]


def _extremes(qrs: list, gain: np.ndarray, duration: float, subject: Subject) -> tuple:
    """Largest and smallest value of each of the twelve leads within the complex, mV."""
    bumps = Bumps.of(qrs)
    shape = bumps.values(np.linspace(0, duration, 80))
    twelve = INDEPENDENT_TO_TWELVE @ (subject.matrix @ ((bumps.vector * gain).T @ shape))
    return np.maximum(twelve.max(axis=1), 0), np.minimum(twelve.min(axis=1), 0)


def mean_axes(beats: Beats, subject: Subject) -> tuple:
    """Frontal axes of P (None without P), QRS and T in degrees, from the areas under the waves."""
    bumps = beats.normal
    weights = (bumps.before + bumps.after) / 2
    axes: list[float | None] = []
    for wave in (ATRIAL, QRS, T):
        chosen = bumps.wave == wave
        if not chosen.any():
            axes.append(None)
            continue
        lead_i, lead_ii = subject.matrix[:2] @ (weights[chosen] @ bumps.vector[chosen])
        axes.append(frontal_axis(lead_i, lead_ii - lead_i / 2))
    return tuple(axes)
