"""Thresholds that promise a recall: split conformal prediction and its generalisation to subjects with many recordings.

Conformal risk control (Angelopoulos, Bates, Fisch, Lei, Schuster, ICLR 2024, arXiv 2208.02814): with m calibration subjects
of losses L_1 … L_m between 0 and 1 that fall with the threshold t, the largest t with

    (L_1(t) + … + L_m(t) + 1) / (m + 1) <= 1 − recall

has an expected loss of at most 1 − recall for the next subject, whatever the model and the distribution, as long as the
subjects of calibration and the next one are exchangeable. A subject's loss is the share of its recordings with the class
whose score lies below t. With one recording each this is split conformal prediction: t is the k-th lowest score of the m
recordings with the class, k = ⌊(1 − recall)(m + 1)⌋. Equal scores can only raise the recall. Where k = 0 no threshold but −∞
would keep the promise, and there is none (NaN).

With weights w (Tibshirani et al. 2019), for recordings that are distributed otherwise than those of calibration: weights and
the bound w' of the next subject's weight enter the inequality, which then reads

    (w_1 L_1(t) + … + w_m L_m(t) + w') / (w_1 + … + w_m + w') <= 1 − recall
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

_ROUNDING = 1e-9  # of sums of shares; a millionth of a subject is none


class Promise(NamedTuple):
    """A threshold and what it rests on.

    Attributes:
        threshold: the set holds what scores at least as much; NaN: the calibration data are too few to promise anything.
        n_units: subjects with a recording of the class, m.
        weight: Σ w, m for equal weights.
        needed: the weight from which there is a threshold.
        effective: (Σ w)² / Σ w², m for equal weights.
    """

    threshold: float
    n_units: int
    weight: float
    needed: int
    effective: float


def needed_units(recall: float, largest: float = 1.0) -> int:
    """Subjects with the class that the promise of a recall needs at least: 19 for 0.95.

    Args:
        recall: to be promised.
        largest: bound of the weights, of which as many are needed together as there would be subjects: 190 for 0.95 and 10.

    Raises:
        ValueError: the recall is not above 0 and below 1.
    """
    return math.ceil(Fraction(largest) * (1 / miss_rate(recall) - 1))


def class_promise(
    scores: np.ndarray,
    units: Sequence[int] | np.ndarray,
    recall: float,
    weights: np.ndarray | None = None,
    largest: float = 1.0,
) -> Promise:
    """The threshold of one class.

    Args:
        scores: ``[P]``, of the calibration records that have the class.
        units: ``[P]``, number of each one's subject (``bootstrap.subject_groups``); all different: recordings count.
        recall: to be promised, above 0 and below 1.
        weights: ``[P]``, how much likelier each recording is where the threshold will be used; None: equally likely.
        largest: bound of the weights there.

    Raises:
        ValueError: shapes differ, a score is NaN, or the recall is out of range.
    """
    scores, units = np.asarray(scores, dtype=np.float64), np.asarray(units)
    _, unit, count = np.unique(units, return_inverse=True, return_counts=True)
    return _promise(scores, 1.0 / count[unit], unit, recall, weights, largest)


def set_promise(
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: Sequence[int] | np.ndarray,
    recall: float,
    weights: np.ndarray | None = None,
    largest: float = 1.0,
) -> Promise:
    """One threshold for the probabilities of all classes: of the classes of a recording, that share is in its set on average.

    Recordings without a class have nothing to miss and take no part.

    Args:
        labels: ``[N, C]`` 1/0, NaN = unknown.
        probabilities: ``[N, C]``, NaN = none; such cells take no part.
        units, recall, weights, largest: as :func:`class_promise`, ``[N]`` each.
    """
    labels, probabilities, units = np.asarray(labels), np.asarray(probabilities, dtype=np.float64), np.asarray(units)
    present = (labels > 0.5) & ~np.isnan(probabilities)
    rows, columns = np.nonzero(present)
    some = np.flatnonzero(present.any(axis=1))
    _, unit_of_some, count = np.unique(units[some], return_inverse=True, return_counts=True)
    unit = np.zeros(len(labels), dtype=np.int64)
    unit[some] = unit_of_some
    share = 1.0 / (present.sum(axis=1)[rows] * count[unit[rows]]) if len(rows) else np.zeros(0)
    return _promise(
        probabilities[rows, columns], share, unit[rows], recall, None if weights is None else np.asarray(weights)[rows], largest
    )


def recall_of_most(n_units: int, recall: float, share: float = 0.9) -> float:
    """The recall that a share of all calibrations of this size exceed; NaN where nothing can be promised.

    The promise is kept on average over calibrations; one of them has a recall of the beta distribution with parameters
    m + 1 − k and k (Vovk 2012), more where scores tie. Exact for one recording a subject and equal weights.
    """
    from scipy.stats import beta

    rank = math.floor(miss_rate(recall) * (n_units + 1))
    return float(beta.ppf(1 - share, n_units + 1 - rank, rank)) if rank else float("nan")


def _promise(
    values: np.ndarray, shares: np.ndarray, unit: np.ndarray, recall: float, weights: np.ndarray | None, largest: float
) -> Promise:
    """``shares [P]``: what each value adds to its unit's loss when it lies below the threshold."""
    misses, needed = miss_rate(recall), needed_units(recall, largest)
    if values.ndim != 1 or not values.shape == shares.shape == unit.shape or np.isnan(values).any():
        raise ValueError(f"values {values.shape}, shares {shares.shape} and units {unit.shape}, without NaN")
    n_units = len(np.unique(unit))
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if (weights < 0).any() or (weights > largest).any():
        raise ValueError(f"weights outside 0 … {largest}")
    total = np.bincount(unit, weights=shares)
    mean = np.bincount(unit, weights=shares * weights)[total > 0] / total[total > 0] if len(values) else np.zeros(0)
    weight = float(mean.sum())
    effective = float(mean.sum() ** 2 / np.square(mean).sum()) if mean.any() else 0.0
    budget = float(misses) * (mean.sum() + largest) - largest + _ROUNDING
    if budget < 0 or not len(values):
        return Promise(float("nan"), n_units, weight, needed, effective)
    order = np.argsort(values, kind="stable")
    lost = np.cumsum((shares * weights)[order])
    last = np.flatnonzero(np.append(values[order][1:] != values[order][:-1], True))  # of equal values
    beyond = last[np.argmax(lost[last] > budget)]
    return Promise(float(values[order][beyond]), n_units, weight, needed, effective)


def miss_rate(recall: float) -> Fraction:
    """1 − recall without the rounding of binary fractions: 1 − 0.9 is a tenth, and 9 subjects are enough for it.

    Raises:
        ValueError: the recall is not above 0 and below 1.
    """
    if not 0 < recall < 1:
        raise ValueError(f"recall {recall}: must be above 0 and below 1")
    return 1 - Fraction(repr(float(recall)))
