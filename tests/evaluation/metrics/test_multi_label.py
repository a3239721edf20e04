"""Metrics against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cmelt_plugin.evaluation.metrics.multi_label import classification_metrics, macro_auc
from cmelt_plugin.evaluation.plots.classification import roc_points


def pair_auc(target, score):
    """Share of positive–negative pairs in which the positive scores higher; equal scores count half."""
    positive, negative = score[target == 1], score[target == 0]
    return np.mean([(p > q) + 0.5 * (p == q) for p in positive for q in negative])


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_equals_counting_pairs(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (20, 3)).astype(float)
    labels[rng.random((20, 3)) < 0.2] = np.nan
    scores = rng.integers(0, 5, (20, 3)).astype(float)  # with ties
    names = ["a", "b", "c"]
    result = macro_auc(labels, scores, names)
    expected = {}
    for column, name in enumerate(names):
        known = ~np.isnan(labels[:, column])
        if len(np.unique(labels[known, column])) == 2:
            expected[name] = pair_auc(labels[known, column], scores[known, column])
    assert result.per_class == pytest.approx(expected)
    assert result.macro == pytest.approx(np.mean(list(expected.values())))
    assert result.excluded == [name for name in names if name not in expected]


def test_classes_without_positives_or_negatives_are_left_out():
    labels = np.array([[1, 0, 1], [0, 0, 1]], dtype=np.uint8)
    result = macro_auc(labels, np.array([[2.0, 1, 1], [1.0, 2, 2]]), ["a", "none", "all"])
    assert result == (1.0, {"a": 1.0}, ["none", "all"])
    assert np.isnan(macro_auc(labels[:, 1:], np.ones((2, 2)), ["none", "all"]).macro)


def test_scores_of_other_shape_or_not_finite_are_refused():
    labels = np.array([[1], [0]])
    with pytest.raises(ValueError, match="do not fit"):
        macro_auc(labels, np.ones((3, 1)), ["a"])
    with pytest.raises(ValueError, match="do not fit"):
        macro_auc(labels, np.ones((2, 1)), ["a", "b"])
    with pytest.raises(ValueError, match="NaN"):
        macro_auc(labels, np.array([[1.0], [np.nan]]), ["a"])


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_area_under_the_drawn_curve_is_the_auc(seed):
    rng = np.random.default_rng(seed)
    target = rng.permutation([1, 0, *rng.integers(0, 2, 15)])
    score = rng.integers(0, 6, 17).astype(float)
    x, y = roc_points(target, score)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
    assert area == pytest.approx(pair_auc(target, score))


def steps_under_curve(target, score):
    """Average precision by its definition: recall gained at each threshold times the precision there."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        called = score >= threshold
        new_recall = (called & (target == 1)).sum() / (target == 1).sum()
        area += (new_recall - recall) * (target[called] == 1).mean()
        recall = new_recall
    return area


def f1_of(target, called):
    return 2 * (called & target).sum() / (called.sum() + target.sum())


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_figures_equal_their_definitions(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((30, 4)) < 0.4).astype(float)
    labels[rng.random((30, 4)) < 0.2] = np.nan
    labels[:, 3] = 0  # a class without positives
    scores = rng.integers(0, 6, (30, 4)).astype(float)
    thresholds = np.array([2.0, 3.0, np.nan, 1.0])
    figures = classification_metrics(labels, scores, list("abcd"), thresholds)
    assert figures.excluded[-1] == "d" and figures.undecided == ["c"]
    aucs, precisions, f1s = [], [], []
    for c, name in enumerate("abc"):
        known = ~np.isnan(labels[:, c])
        target, score = labels[known, c], scores[known, c]
        mine = figures.per_class[name]
        assert (mine.positives, mine.negatives) == ((target == 1).sum(), (target == 0).sum())
        assert mine.prevalence == pytest.approx((target == 1).mean())
        if name in figures.excluded:
            assert np.isnan(mine.auc) and np.isnan(mine.auprc)
            continue
        aucs.append(pair_auc(target, score))
        precisions.append(steps_under_curve(target, score))
        assert (mine.auc, mine.auprc) == pytest.approx((aucs[-1], precisions[-1]))
        assert (mine.auc, mine.auprc) == pytest.approx((roc_auc_score(target, score), average_precision_score(target, score)))
        if name != "c":
            f1s.append(f1_of(target == 1, score >= thresholds[c]))
            assert mine.f1 == pytest.approx(f1s[-1])
        else:
            assert np.isnan(mine.f1) and np.isnan(mine.threshold)
    assert figures.macro_auc == pytest.approx(np.mean(aucs))
    assert figures.macro_auprc == pytest.approx(np.mean(precisions))
    assert figures.macro_f1 == pytest.approx(np.mean(f1s))
    right = [
        [(scores[i, c] >= thresholds[c]) == (labels[i, c] == 1) for c in (0, 1, 3) if not np.isnan(labels[i, c])]
        for i in range(30)
    ]
    assert figures.accuracy == pytest.approx(np.mean(sum(right, [])))
    assert figures.exact_match == pytest.approx(np.mean([all(row) for row in right if row]))


def test_without_thresholds_there_is_nothing_that_needs_decisions():
    figures = classification_metrics(np.array([[1], [0]]), np.array([[0.9], [0.1]]), ["a"])
    assert (figures.macro_f1, figures.accuracy, figures.exact_match, figures.undecided) == (None, None, None, [])
    assert figures.macro_auc == 1.0 and np.isnan(figures.per_class["a"].f1)


def test_a_class_without_positives_is_left_out_of_every_mean_and_named():
    """Counted as 0 or NaN, one absent class (CSN's VB under exact labels) would spoil the mean over the others."""
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    scores = np.array([[0.9, 0.1], [0.8, 0.4], [0.2, 0.3], [0.1, 0.2]])
    figures = classification_metrics(labels, scores, ["here", "absent"], np.array([0.5, 0.35]))
    assert (figures.macro_auc, figures.macro_auprc, figures.macro_f1) == (1.0, 1.0, 1.0)
    assert figures.excluded == ["absent"]
    assert figures.per_class["absent"][:2] == (0, 4)
    assert np.isnan(figures.per_class["absent"].auc) and np.isnan(figures.per_class["absent"].f1)
    assert figures.accuracy == 7 / 8 and figures.exact_match == 3 / 4


def test_the_mean_over_classes_with_ten_positives_stands_beside_the_other():
    rng = np.random.default_rng(0)
    labels, scores = np.zeros((40, 3)), rng.normal(size=(40, 3))
    labels[:10, 0], labels[:9, 1], labels[:12, 2] = 1, 1, 1
    figures = classification_metrics(labels, scores, ["ten", "nine", "twelve"])
    expected = [pair_auc(labels[:, c], scores[:, c]) for c in range(3)]
    assert figures.macro_auc == pytest.approx(np.mean(expected))
    assert figures.macro_auc_10 == pytest.approx((expected[0] + expected[2]) / 2)
    assert np.isnan(classification_metrics(labels[:, 1:2], scores[:, 1:2], ["nine"]).macro_auc_10)


def test_a_softmax_over_classes_changes_the_auc_so_raw_logits_must_be_given():
    """D-M4: labels are not exclusive: normalising over classes moves a record's score by what its other classes score."""
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 1]])
    logits = np.array([[3.0, 6.0], [2.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert macro_auc(labels, logits, ["a", "b"]).macro == 1.0
    assert macro_auc(labels, softmax, ["a", "b"]).macro < 1.0


def test_thresholds_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="thresholds"):
        classification_metrics(np.array([[1], [0]]), np.ones((2, 1)), ["a"], np.array([0.5, 0.5]))
