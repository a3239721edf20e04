"""Promised recalls: exact on small data, and kept over a thousand random splits."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from cmelt_plugin.evaluation.uncertainty.conformal import class_promise, needed_units, recall_of_most, set_promise

N_SPLITS = 1000


def naive_threshold(scores, units, recall):
    """The largest of the scores at which the inequality holds, subject by subject; None: none."""
    subjects = sorted(set(units))
    best = None
    for t in sorted(set(scores)):
        losses = []
        for subject in subjects:
            own = [score for score, unit in zip(scores, units) if unit == subject]
            losses.append(Fraction(sum(score < t for score in own), len(own)))
        if (sum(losses) + 1) / Fraction(len(subjects) + 1) <= 1 - Fraction(str(recall)):
            best = t
    return best


@pytest.mark.parametrize("seed", range(30))
def test_the_threshold_is_the_largest_that_keeps_the_inequality(seed) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    scores = rng.integers(0, 12, n).astype(float) if seed % 2 else rng.normal(size=n)
    units = rng.integers(0, max(1, n // (1 + seed % 3)), n)
    for recall in (0.5, 0.8, 0.9, 0.95):
        expected = naive_threshold(scores.tolist(), units.tolist(), recall)
        found = class_promise(scores, units, recall)
        assert found.threshold == (pytest.approx(np.nan, nan_ok=True) if expected is None else expected)
        assert found.n_units == found.effective == len(set(units.tolist()))
        assert np.isnan(found.threshold) == (found.n_units < found.needed)


def test_too_few_subjects_promise_nothing() -> None:
    assert [needed_units(recall) for recall in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    for recall in (0.9, 0.95, 0.7):
        m = needed_units(recall)
        scores = np.arange(m, dtype=float)
        assert class_promise(scores, np.arange(m), recall).threshold == 0
        assert np.isnan(class_promise(scores[1:], np.arange(m - 1), recall).threshold)
        assert np.isnan(class_promise(np.arange(50.0), np.arange(50) % (m - 1), recall).threshold)  # subjects count
    assert np.isnan(class_promise(np.zeros(0), np.zeros(0, dtype=int), 0.5).threshold)
    for recall in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="recall"):
            needed_units(recall)


def splits(n, n_calibration, seed):
    """Rows of a thousand random orders of n subjects: those of calibration, and the next one."""
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(n), (N_SPLITS, 1)), axis=1)
    return order[:, :n_calibration], order[:, n_calibration]


@pytest.mark.parametrize(("m", "recall"), [(19, 0.95), (20, 0.9), (39, 0.9), (50, 0.8)])
def test_the_recall_of_the_next_record_is_exactly_that_of_the_theory(m, recall) -> None:
    """Over random splits of distinct scores the next one lies below with probability k / (m + 1): a binomial count."""
    scores = np.random.default_rng(m).normal(size=200)
    calibration, following = splits(200, m, seed=m)
    thresholds = np.array([class_promise(scores[rows], rows, recall).threshold for rows in calibration])
    missed = int((scores[following] < thresholds).sum())
    chance = np.floor((1 - recall) * (m + 1) + 1e-9) / (m + 1)
    low, high = binom.interval(1 - 1e-5, N_SPLITS, chance)
    assert low <= missed <= high
    # The quantile without the next record's share of 1 / (m + 1) would break the promise.
    if m == 20:
        broken = np.quantile(scores[calibration], 1 - recall, axis=1, method="higher")
        assert (scores[following] < broken).sum() > binom.ppf(1 - 1e-3, N_SPLITS, 1 - recall)


def test_ties_only_raise_the_recall() -> None:
    scores = np.random.default_rng(0).integers(0, 4, 200).astype(float)
    calibration, following = splits(200, 30, seed=1)
    thresholds = np.array([class_promise(scores[rows], rows, 0.9).threshold for rows in calibration])
    missed = (scores[following] < thresholds).mean()
    assert missed <= binom.ppf(1 - 1e-5, N_SPLITS, 0.1) / N_SPLITS
    assert missed < 0.05  # a quarter of the records has the lowest score; the promise is more than kept


def clustered(seed, n_subjects=120):
    """Subjects with one recording or twenty of one level each: those with many have high scores."""
    rng = np.random.default_rng(seed)
    count = np.where(rng.random(n_subjects) < 0.2, 20, 1)
    level = rng.normal(size=n_subjects) + 2.0 * (count > 1)
    return [level[subject] + 0.1 * rng.normal(size=count[subject]) for subject in range(n_subjects)]


def test_the_recall_of_the_next_subject_is_kept_where_some_have_many_records() -> None:
    subjects = clustered(3)
    calibration, following = splits(len(subjects), 40, seed=2)
    losses, of_records = [], []
    for rows, new in zip(calibration, following):
        scores = np.concatenate([subjects[row] for row in rows])
        units = np.repeat(rows, [len(subjects[row]) for row in rows])
        losses.append((subjects[new] < class_promise(scores, units, 0.9).threshold).mean())
        of_records.append((subjects[new] < class_promise(scores, np.arange(len(scores)), 0.9).threshold).mean())
    margin = 4.5 * np.std(losses) / N_SPLITS**0.5
    assert np.mean(losses) <= 0.1 + margin
    assert np.mean(losses) > 0.05  # and no promise is kept by calling everything present
    # Recordings in place of subjects: the threshold is that of the few who have many, too high for everybody else.
    assert np.mean(of_records) > 0.1 + 4.5 * np.std(of_records) / N_SPLITS**0.5


def test_sets_hold_the_promised_share_of_the_classes_of_a_record() -> None:
    rng = np.random.default_rng(5)
    probabilities = rng.random((300, 4)).round(2)
    labels = (rng.random((300, 4)) < probabilities**2).astype(float)
    labels[rng.random((300, 4)) < 0.1] = np.nan
    units = np.arange(300) // 2
    probabilities[:, 3] = np.nan
    found = set_promise(labels, probabilities, units, 0.8)

    def mean_loss(threshold):
        of_subject: dict = {}
        for row in range(300):
            own = [c for c in range(3) if labels[row, c] == 1]
            if own:
                share = sum(probabilities[row, c] < threshold for c in own) / len(own)
                of_subject.setdefault(units[row], []).append(share)
        return (sum(np.mean(shares) for shares in of_subject.values()) + 1) / (len(of_subject) + 1), len(of_subject)

    loss, n_units = mean_loss(found.threshold)
    assert found.n_units == n_units and loss <= 0.2 < mean_loss(found.threshold + 0.011)[0]


def test_sets_keep_their_promise_over_splits() -> None:
    rng = np.random.default_rng(6)
    probabilities = rng.integers(0, 20, (150, 3)) / 20
    labels = (rng.random((150, 3)) < probabilities).astype(float)
    labels[:, 0] = np.maximum(labels[:, 0], labels.max(axis=1) == 0)  # every record has a class
    calibration, following = splits(150, 40, seed=8)
    losses = []
    for rows, new in zip(calibration, following):
        threshold = set_promise(labels[rows], probabilities[rows], rows, 0.8).threshold
        own = labels[new] == 1
        losses.append((probabilities[new][own] < threshold).mean())
    assert np.mean(losses) <= 0.2 + 4.5 * np.std(losses) / N_SPLITS**0.5
    assert np.mean(losses) > 0.1


def test_weights_mend_what_a_shift_breaks() -> None:
    """Calibration has few of the hard recordings that come later; with their weights the promise holds again."""
    rng = np.random.default_rng(9)
    hard_before, hard_later, weighted, plain = 0.1, 0.6, [], []
    weight = np.array([(1 - hard_later) / (1 - hard_before), hard_later / hard_before])
    for _ in range(N_SPLITS):
        hard = (rng.random(200) < hard_before).astype(int)
        scores = rng.normal(size=200) - 2 * hard
        new_hard = int(rng.random() < hard_later)
        new = rng.normal() - 2 * new_hard
        found = class_promise(scores, np.arange(200), 0.9, weight[hard], largest=weight[1])
        assert found.effective < 100
        weighted.append(new < found.threshold)
        plain.append(new < class_promise(scores, np.arange(200), 0.9).threshold)
    assert np.sum(weighted) <= binom.ppf(1 - 1e-5, N_SPLITS, 0.1)
    assert np.sum(plain) > 2 * 0.1 * N_SPLITS
    with pytest.raises(ValueError, match="weights"):
        class_promise(scores, np.arange(200), 0.9, weight[hard], largest=1.0)


def test_equal_weights_are_no_weights() -> None:
    rng = np.random.default_rng(4)
    scores, units = rng.normal(size=80), rng.integers(0, 50, 80)
    plain = class_promise(scores, units, 0.9)
    weighed = class_promise(scores, units, 0.9, np.full(80, 3.0), largest=3.0)
    assert weighed._replace(weight=plain.weight, needed=plain.needed) == pytest.approx(plain)
    assert (weighed.weight, weighed.needed) == (3 * plain.weight, 3 * plain.needed)


def test_what_is_needed_is_what_it_takes() -> None:
    """Of weights that may reach ten, ten times as much."""
    for largest, needed in ((1.0, 19), (10.0, 190)):
        few, enough = (
            class_promise(np.arange(m, dtype=float), np.arange(m), 0.95, np.ones(m), largest) for m in (needed - 1, needed)
        )
        assert few.needed == enough.needed == enough.weight == needed
        assert np.isnan(few.threshold) and not np.isnan(enough.threshold)


def test_most_calibrations_of_a_size_reach_a_recall_a_little_below() -> None:
    rng = np.random.default_rng(1)
    reached = []
    for _ in range(2000):
        threshold = class_promise(rng.random(100), np.arange(100), 0.9).threshold  # uniform: its recall is 1 − t
        reached.append(1 - threshold)
    assert recall_of_most(100, 0.9) == pytest.approx(np.quantile(reached, 0.1), abs=0.005)
    assert recall_of_most(100, 0.9) < 0.9 < np.mean(reached) + 0.01
    assert np.isnan(recall_of_most(8, 0.9))
