"""The pointing game and the intersection over union, against every way in which ties could fall."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.evaluation.metrics.pointing import event_mask, iou, pointing


def test_steps_whose_middle_lies_in_an_event():
    assert event_mask([(16, 48)], 4, 16).tolist() == [False, True, True, False]
    assert event_mask([(9, 24), (60, 64)], 4, 16).tolist() == [False, False, False, False]
    assert event_mask([(8, 25), (50, 99)], 4, 16).tolist() == [True, True, False, True]
    assert not event_mask([], 4, 16).any()


def test_by_hand():
    mask = np.array([False, True, True, False])
    assert pointing(np.array([0.1, 0.5, 0.2, 0.2]), mask) == 1
    assert pointing(np.array([0.5, 0.1, 0.2, 0.2]), mask) == 0
    assert pointing(np.array([0.3, 0.3, 0.2, 0.2]), mask) == 0.5
    assert iou(np.array([0.1, 0.5, 0.3, 0.1]), mask) == 1
    assert iou(np.array([0.4, 0.5, 0.0, 0.1]), mask) == pytest.approx(1 / 3)
    assert iou(np.array([0.4, 0.1, 0.1, 0.4]), mask) == 0
    with pytest.raises(ValueError, match="no step"):
        iou(np.ones(4), np.zeros(4, dtype=bool))


def naive(weights, mask):
    """Over all sets of steps that are as good as any of their size."""
    steps, m = range(len(weights)), int(mask.sum())
    best = max(sum(sorted(weights[list(chosen)])) for chosen in combinations(steps, m))
    events = set(np.flatnonzero(mask).tolist())
    values = [
        len(events & set(chosen)) / len(events | set(chosen))
        for chosen in combinations(steps, m)
        if sum(sorted(weights[list(chosen)])) == best
    ]
    tops = [step for step in steps if weights[step] == weights.max()]
    return np.mean([mask[step] for step in tops]), np.mean(values)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=7).filter(lambda pairs: any(m for _, m in pairs))
)
@settings(max_examples=100, deadline=None)
def test_ties_give_the_expectation(pairs):
    weights, mask = np.array([float(w) for w, _ in pairs]), np.array([m for _, m in pairs])
    expected = naive(weights, mask)
    assert pointing(weights, mask) == pytest.approx(expected[0])
    assert iou(weights, mask) == pytest.approx(expected[1])


def test_uniform_attention_gets_what_chance_would():
    """Also where rounding has made equal weights unequal."""
    rng = np.random.default_rng(0)
    mask = rng.random(312) < 0.2
    uniform = np.full(312, 1 / 312) * (1 + 1e-8 * rng.random(312))
    assert pointing(uniform, mask) == pytest.approx(mask.mean())
    drawn = [iou(rng.permutation(312), mask) for _ in range(2000)]
    assert iou(uniform, mask) == pytest.approx(np.mean(drawn), rel=0.02)
