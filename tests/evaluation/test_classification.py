"""Macro AUC against counting pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.evaluation.classification import macro_auc
from cmelt_plugin.evaluation.figures.classification import roc_points


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
