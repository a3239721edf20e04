"""Thresholds are those of largest F1, and are chosen on other data than they are judged by."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.evaluation.metrics.multi_label import balanced_accuracy, classification_metrics
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds


def f1_at(target, score, threshold):
    called = score >= threshold
    return 2 * (called & target).sum() / (called.sum() + target.sum())


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_no_other_threshold_has_a_larger_f1(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((25, 2)) < 0.3).astype(float)
    labels[rng.random((25, 2)) < 0.2] = np.nan
    scores = rng.integers(0, 8, (25, 2)).astype(float)
    chosen = choose_thresholds(labels, scores)
    assert chosen.dtype == np.float64
    for c in range(2):
        known = ~np.isnan(labels[:, c])
        target, score = labels[known, c] == 1, scores[known, c]
        if not target.any():
            assert np.isnan(chosen[c])
            continue
        every = {t: f1_at(target, score, t) for t in set(score)}
        assert f1_at(target, score, chosen[c]) == pytest.approx(max(every.values()))
        largest = max(t for t, f1 in every.items() if f1 == pytest.approx(max(every.values())))
        assert ((score >= chosen[c]) == (score >= largest)).all()


def test_the_threshold_lies_half_way_between_two_scores():
    labels = np.array([[1], [1], [0], [0]])
    assert choose_thresholds(labels, np.array([[0.9], [0.7], [0.3], [0.1]])) == pytest.approx([0.5])
    assert choose_thresholds(labels[:2], np.array([[0.9], [0.7]])) == [0.7]  # nothing below


def test_neighbouring_scores_are_still_told_apart():
    low = 1.0
    high = np.nextafter(low, 2.0)
    (threshold,) = choose_thresholds(np.array([[1], [0]]), np.array([[high], [low]]))
    assert low < threshold <= high


def test_thresholds_come_from_validation_data_and_scoring_chooses_none():
    """Chosen on the records they are judged by, thresholds flatter: random scores reach F1 0.46 instead of 0.40."""
    rng = np.random.default_rng(0)
    labels, scores = (rng.random((2, 60, 8)) < 0.3).astype(float), rng.normal(size=(2, 60, 8))
    names = [str(c) for c in range(8)]
    thresholds = choose_thresholds(labels[0], scores[0])
    honest = classification_metrics(labels[1], scores[1], names, thresholds)
    flattered = classification_metrics(labels[1], scores[1], names, choose_thresholds(labels[1], scores[1]))
    assert honest.macro_f1 < flattered.macro_f1 - 0.05
    assert [honest.per_class[name].threshold for name in names] == thresholds.tolist()
    assert inspect.signature(classification_metrics).parameters["thresholds"].default is None


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        choose_thresholds(np.ones((2, 1)), np.ones((3, 1)))
    with pytest.raises(ValueError, match="NaN"):
        choose_thresholds(np.ones((1, 1)), np.array([[np.nan]]))


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_no_other_threshold_has_a_larger_balanced_accuracy(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((25, 1)) < 0.3).astype(float)
    scores = rng.integers(0, 8, (25, 1)).astype(float)
    (chosen,) = choose_thresholds(labels, scores, "balanced_accuracy")
    target, score = labels[:, 0] == 1, scores[:, 0]
    if target.all() or not target.any():
        assert np.isnan(chosen)
        return
    every = [balanced_accuracy(labels, (score >= t)[:, None]) for t in set(score)]
    assert balanced_accuracy(labels, (score >= chosen)[:, None]) == pytest.approx(max(every))
    assert balanced_accuracy(labels, (score >= chosen)[:, None]) == pytest.approx(
        ((score >= chosen)[target].mean() + (score < chosen)[~target].mean()) / 2
    )


def test_there_are_two_rules():
    with pytest.raises(ValueError, match="rule 'youden', not one of f1, balanced_accuracy"):
        choose_thresholds(np.ones((1, 1)), np.ones((1, 1)), "youden")
