"""A latent ejection fraction of the left ventricle, what a weak ventricle does to the electrocardiogram, and words for it.

Directions are those that are usual in cohorts: the weaker the ventricle, the wider the QRS complex, the flatter the T wave, the
lower the voltage of the limb leads, the larger the atrium, the further left the axis, the longer QT, and the more frequent left
bundle branch block, atrial fibrillation and ectopy. Sizes are made up, and larger than in people, for small models.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from preprocess.synthetic_ecg.physiology.subjects import EJECTION_STREAM, Subject, rotation
from preprocess.synthetic_ecg.record import Plan, plan_record

LOWEST, HIGHEST = 10.0, 75.0
"""Per cent."""
# Shares of hearts, mean and standard deviation of their ejection fractions: normal, mildly reduced, reduced.
_HEARTS = ((0.50, 60.0, 7.0), (0.28, 46.0, 7.0), (0.22, 29.0, 7.0))
# Third words of the streams' keys: zeros at the end of a key would make no difference.
_USUAL, _LASTING, _RECORD, _WORDS = 1, 2, 3, 4
# Statements by the ejection fraction they begin at, per cent; no electrocardiograph prints them.
_PHRASES = {
    0.0: (
        "Left ventricular ejection fraction is severely reduced, below 30 percent",
        "Severely reduced left ventricular ejection fraction, below 30 percent",
    ),
    30.0: (
        "Left ventricular ejection fraction is moderately reduced, 30 to 40 percent",
        "Moderately reduced left ventricular ejection fraction, 30 to 40 percent",
    ),
    40.0: (
        "Left ventricular ejection fraction is mildly reduced, 40 to 50 percent",
        "Mildly reduced left ventricular ejection fraction, 40 to 50 percent",
    ),
    50.0: (
        "Left ventricular ejection fraction is normal, above 50 percent",
        "Normal left ventricular ejection fraction, above 50 percent",
    ),
}
_DRIFT = 3.0  # standard deviation of one record's ejection fraction around its subject's, per cent


def draw_ejection(seed: int, subject: int) -> float:
    """The ejection fraction that is usual for this subject, per cent."""
    rng = np.random.default_rng([seed, EJECTION_STREAM, _USUAL, subject])
    shares = np.cumsum([share for share, _, _ in _HEARTS])
    _, mean, deviation = _HEARTS[min(int(np.searchsorted(shares, rng.random())), len(_HEARTS) - 1)]
    return float(np.clip(rng.normal(mean, deviation), LOWEST, HIGHEST))


def weakness(ejection: float) -> float:
    """0 at the highest ejection fraction, 1 at the lowest."""
    return (HIGHEST - ejection) / (HIGHEST - LOWEST)


def plan_with_ejection(
    seed: int, index: int, subject_index: int, subject: Subject, noise: float = 1.0, balanced: bool = False
) -> tuple[Plan, float]:
    """Record ``index`` of a cohort whose ventricles differ, and the ejection fraction at its time, per cent.

    Args:
        seed: of the cohort.
        index: of the record.
        subject_index: of its subject.
        subject: as drawn for cohorts without ejection fractions.
        noise: times the usual noise.
        balanced: each cause equally often.
    """
    usual = draw_ejection(seed, subject_index)
    rng = np.random.default_rng([seed, EJECTION_STREAM, _RECORD, subject_index, index])
    ejection = float(np.clip(usual + rng.normal(0, _DRIFT), LOWEST, HIGHEST))
    lasting = np.random.default_rng([seed, EJECTION_STREAM, _LASTING, subject_index])
    weakened = _weakened(subject, lasting, weakness(usual), weakness(ejection))
    return plan_record(seed, index, weakened, noise, balanced), ejection


def ejection_statement(seed: int, index: int, ejection: float) -> str:
    """What a report that knew the ejection fraction (per cent) of record ``index`` would say of it."""
    wordings = _PHRASES[max(start for start in _PHRASES if start <= ejection)]
    rng = np.random.default_rng([seed, EJECTION_STREAM, _WORDS, index])
    return wordings[int(rng.integers(len(wordings)))]


def _weakened(subject: Subject, rng: np.random.Generator, usual: float, now: float) -> Subject:
    """The subject with a ventricle of that weakness: what lasts follows ``usual``, what changes follows ``now``."""
    block, fibrillation = rng.random(2)
    chronic = set(subject.chronic)
    if block < 0.5 * usual**3:
        chronic.add("CLBBB")
    if fibrillation < 0.25 * usual**2:
        chronic.add("AFIB")
    return replace(
        subject,
        chronic=frozenset(chronic),
        burden=min(subject.burden * (0.4 + usual), 3.5),
        limbs=subject.limbs * (1.15 - 0.5 * now),
        rotation=rotation(-0.9 * usual, 0.0) @ subject.rotation,
        qrs_duration=0.076 + 0.034 * now + 0.1 * (subject.qrs_duration - 0.091),
        qt_corrected=subject.qt_corrected + 0.03 * (now - 0.3),
        strength=subject.strength**0.5 * (1.15 - 0.4 * now),
        p_strength=subject.p_strength**0.4 * (0.8 + 0.8 * now),
        t_strength=subject.t_strength**0.2 * (1.7 - 1.45 * now),
    )
