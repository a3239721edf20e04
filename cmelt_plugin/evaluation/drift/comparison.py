"""Whether recordings have changed since a model was calibrated: tests on embeddings and scores, and the promise over time.

Tests want independent records, so each subject counts with one record alone. Several classes, windows or questions are tested
at once; their p-values are Holm's.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from cmelt_plugin.evaluation.metrics.bootstrap import subject_groups
from cmelt_plugin.evaluation.metrics.multi_label import rank_auc
from cmelt_plugin.evaluation.uncertainty.conformal import miss_rate
from cmelt_plugin.models.inference.calibration import Calibration
from cmelt_plugin.models.inference.neighbours import neighbour_distance

FEWEST = 10
"""Subjects of then, and as many of now, that are needed: 5 of each in a half are the fewest that can differ beyond 1 %."""


class ScoreDrift(NamedTuple):
    """The scores of one class, then and now.

    Attributes:
        name: of the class.
        statistic: largest difference of both distribution functions (Kolmogorov and Smirnov).
        p_value: of no difference, corrected for the number of classes.
        shift: median now less median then, in standard deviations of then.
    """

    name: str
    statistic: float
    p_value: float
    shift: float


class PointDrift(NamedTuple):
    """Embeddings, then and now.

    Attributes:
        auc: how well a logistic regression of one half of the subjects tells now from then on the other half; ½: not at all.
        p_value: of that AUC by chance (Mann–Whitney), corrected for two tests.
        distance_p_value: that the recordings now of the other half lie no farther from those of then of the first half than
            those of then of the other half do (Mann–Whitney), corrected for two tests.
        beyond: share of recordings now beyond the distance that 95 % of those of then keep.
    """

    auc: float
    p_value: float
    distance_p_value: float
    beyond: float


class Promised(NamedTuple):
    """A class with a promised recall.

    Attributes:
        column: of the class.
        units: independent calibration subjects with it, m.
        rank: of the threshold among them, counted from the lowest score, k.
    """

    column: int
    units: int
    rank: int


class Window(NamedTuple):
    """Recordings that follow each other in time.

    Attributes:
        begin, end: times of the first and last one, "" where unknown.
        n_records: recordings.
        refused: share beyond a limit of abstention; NaN without limits.
        recall: share of recordings with a class whose set holds it, mean over classes with a promise; NaN without labels.
        n_positive: recordings with such a class, counted once for each.
        p_value: of so few or fewer subjects in their sets had nothing changed since calibration (beta-binomial), corrected for
            the number of classes and windows; NaN without labels.
    """

    begin: str
    end: str
    n_records: int
    refused: float
    recall: float
    n_positive: int
    p_value: float


def first_records(subjects: Sequence[str]) -> np.ndarray:
    """Rows of the first record of each subject, int64; those without a subject all count."""
    seen: set[str] = set()
    rows = []
    for row, subject in enumerate(subjects):
        if not subject or subject not in seen:
            rows.append(row)
            seen.add(subject)
    return np.array(rows, dtype=np.int64)


def score_drift(reference: np.ndarray, current: np.ndarray, names: Sequence[str]) -> list[ScoreDrift]:
    """``reference [N, C]``, ``current [M, C]``: scores of independent records; a row per class."""
    from scipy.stats import ks_2samp

    tests = [ks_2samp(reference[:, column], current[:, column]) for column in range(len(names))]
    corrected = holm([float(test.pvalue) for test in tests])
    width = reference.std(axis=0)
    medians = np.median(current, axis=0) - np.median(reference, axis=0)
    shift = np.divide(medians, width, out=np.zeros_like(medians), where=width > 0)
    return [
        ScoreDrift(name, float(test.statistic), p_value, float(one))
        for name, test, p_value, one in zip(names, tests, corrected, shift)
    ]


def point_drift(
    reference: np.ndarray, current: np.ndarray, subjects: Sequence[str], current_subjects: Sequence[str], seed: int = 0
) -> PointDrift:
    """Embeddings of now against those of then, on the half of the subjects that nothing was fitted on.

    Folds would share training records, and the tests would take values that depend on each other for independent ones.

    Args:
        reference: ``[N, D]``, points of unit length, one of each subject.
        current: ``[M, D]``, the same of now.
        subjects, current_subjects: N and M subject ids, "" = unknown; somebody who is in both lies in one half alone.
        seed: of the halves.

    Raises:
        ValueError: there are fewer than :data:`FEWEST` records of then or of now.
    """
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(reference), len(current)) < FEWEST:
        raise ValueError(f"{len(reference)} records then and {len(current)} now: {FEWEST} each are needed")
    x = np.concatenate([reference, current])
    y = np.repeat([0, 1], [len(reference), len(current)])
    fitted = _one_half(subject_groups(len(y), [*subjects, *current_subjects]), y, seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(x[fitted], y[fitted])
    then, now = x[~fitted & (y == 0)], x[~fitted & (y == 1)]
    odds_then, odds_now = model.decision_function(then), model.decision_function(now)
    known = x[fitted & (y == 0)]
    own, other = neighbour_distance(then, known), neighbour_distance(now, known)
    tests = [mannwhitneyu(*pair, alternative="greater") for pair in ((odds_now, odds_then), (other, own))]
    told, farther = holm([float(test.pvalue) for test in tests])
    auc = rank_auc(np.repeat([True, False], [len(now), len(then)]), np.concatenate([odds_now, odds_then]))
    return PointDrift(auc, told, farther, float((other > np.quantile(own, 0.95)).mean()))


def _one_half(group: np.ndarray, now: np.ndarray, seed: int) -> np.ndarray:
    """Which records are of the first half of the subjects, bool ``[N]``; each half has its share of then, now and both.

    Args:
        group: ``[N]``, number of each record's subject.
        now: ``[N]``, 1 = now, 0 = then.
        seed: of the halves.
    """
    kind = np.bincount(group, weights=np.where(now == 1, 2, -1))  # −1: then alone, 1: both, 2: now alone
    order = np.lexsort((np.random.default_rng(seed).random(len(kind)), kind))
    first = np.zeros(len(kind), dtype=bool)
    first[order[::2]] = True
    return first[group]


def promised_classes(calibration: Calibration) -> list[Promised]:
    """The classes with a threshold.

    Where calibration took records for independent that share subjects, or weighted them for other data, it rests on fewer than
    their number: as many as there are subjects to the records, and the share that the weights leave.
    """
    data, share = calibration.data, Fraction(1)
    if calibration.unit == "record":
        share *= Fraction(int(data["subjects"]), int(data["records"]))
    if calibration.shift:
        share *= min(Fraction(1), Fraction(calibration.shift["effective"]) / int(data["records"]))
    missed = miss_rate(calibration.recall)
    found = []
    for column, one in enumerate(calibration.classes):
        if one.threshold is not None:
            units = max(1, int(share * one.units))
            found.append(Promised(column, units, max(1, int(missed * (units + 1)))))
    return found


def windows(
    times: Sequence[str],
    subjects: Sequence[str],
    labels: np.ndarray | None,
    sets: np.ndarray,
    promised: Sequence[Promised],
    refused: np.ndarray | None,
    n_windows: int,
    seed: int = 0,
) -> list[Window]:
    """The records in ``n_windows`` parts of as many each, by time; in their own order where times are unknown.

    The promise is on average over calibrations: one calibration has a recall of the beta distribution with parameters m + 1 − k
    and k (:func:`cmelt_plugin.evaluation.uncertainty.conformal.recall_of_most`). So the subjects in whose sets the class is
    are beta-binomial. In each window a subject counts once for a class, with one of its records that have it, drawn at random.

    Args:
        times: N ISO times, "" = unknown.
        subjects: N subject ids, "" = unknown.
        labels: ``[N, C]`` 1/0, NaN = unknown; None: there are none.
        sets: bool ``[N, C]``.
        promised: the classes with a promise.
        refused: bool ``[N]``, beyond a limit of abstention; None: there are no limits.
        n_windows: at most so many, each of one record at least.
        seed: of the records that stand for their subjects.
    """
    order = np.argsort(np.array(times, dtype=np.str_), kind="stable") if all(times) else np.arange(len(times))
    rng = np.random.default_rng(seed)
    found = []
    for rows in np.array_split(order, min(n_windows, len(order))):
        share = float("nan") if refused is None else float(refused[rows].mean())
        mean, n_positive, p_value = float("nan"), 0, float("nan")
        if labels is not None and promised:
            columns = np.array([one.column for one in promised], dtype=np.int64)
            positive = labels[np.ix_(rows, columns)] > 0.5
            kept = positive & sets[np.ix_(rows, columns)]
            n_positive = int(positive.sum())
            has = positive.any(axis=0)
            if n_positive:
                mean = float((kept.sum(axis=0)[has] / positive.sum(axis=0)[has]).mean())
                p_value = _broken(rng.permutation(rows), subjects, labels, sets, promised)
        begin, end = (times[rows[0]], times[rows[-1]]) if all(times) else ("", "")
        found.append(Window(begin, end, len(rows), share, mean, n_positive, p_value))
    tested = [number for number, one in enumerate(found) if not np.isnan(one.p_value)]
    for number, corrected in zip(tested, holm([found[number].p_value for number in tested])):
        found[number] = found[number]._replace(p_value=corrected)
    return found


def _broken(
    rows: np.ndarray, subjects: Sequence[str], labels: np.ndarray, sets: np.ndarray, promised: Sequence[Promised]
) -> float:
    """p-value of the recalls of one window, corrected for the number of classes; a subject's first row stands for it."""
    from scipy.stats import betabinom

    p_values = []
    for one in promised:
        own = rows[labels[rows, one.column] > 0.5]
        own = own[first_records([subjects[row] for row in own])]
        if len(own):
            kept = int(sets[own, one.column].sum())
            p_values.append(float(betabinom.cdf(kept, len(own), one.units + 1 - one.rank, one.rank)))
    return min(holm(p_values))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values: none of them falls below a chance of 5 % more often than that, however many there are."""
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected.tolist()
