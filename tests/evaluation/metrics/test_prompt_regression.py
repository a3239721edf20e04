"""The number that the nearest texts name."""

import numpy as np
import pytest

from cmelt_plugin.evaluation.metrics.prompt_regression import (
    lower_median,
    prompt_regression,
    ranked_values,
    sampled_regression,
    voting_ranks,
)

VALUES = np.arange(0.0, 100, 10)
FRAMES = np.array([[0.1, 0.2, 0.3, 0.8, 0.9, 0.5, 0.4, 0.2, 0.1, 0], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9, 0.4, 0.2, 0.15, 0]])


def test_the_published_rule_on_two_frames() -> None:
    means = ranked_values(FRAMES, VALUES, 4).mean(axis=0)
    assert means.tolist() == [45, 35, 40, 60]
    assert prompt_regression(FRAMES, VALUES) == 35  # two ranks vote: the lower one of their two means
    assert prompt_regression(FRAMES[:1], VALUES) == 30  # of 40 and 30


def test_many_recordings_at_once() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(7, 3, 202))
    values = np.tile(np.arange(101.0), 2)
    expected = []
    for record in similarity:
        ranks = np.array([values[np.argsort(-frame, kind="stable")] for frame in record]).mean(axis=0)
        expected.append(sorted(ranks[:40])[19])
    assert prompt_regression(similarity, values).tolist() == expected


@pytest.mark.parametrize("n, ranks", [(202, 40), (10, 2), (5, 1), (4, 1), (1, 1)])
def test_a_fifth_of_the_ranks_votes(n, ranks) -> None:
    assert voting_ranks(n) == ranks


def test_texts_of_equal_similarity_keep_their_order() -> None:
    assert ranked_values(np.zeros(4), np.array([3.0, 1, 2, 0]), 4).tolist() == [3, 1, 2, 0]
    assert lower_median(np.array([4.0, 1, 3, 2])) == 2


def test_samples_give_an_interval() -> None:
    estimate = sampled_regression(np.stack([FRAMES, FRAMES[::-1]]), VALUES, level=1.0)
    assert estimate.value.tolist() == [35, 35]  # the samples vote together, as frames do
    assert estimate.low.tolist() == [30, 30] and estimate.high.tolist() == [40, 40]  # each alone: 30 and 40
    same = sampled_regression(np.repeat(FRAMES[None, :1], 5, axis=1), VALUES)
    assert same.low == same.high == same.value == 30


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="values"):
        prompt_regression(FRAMES, VALUES[:-1])
    with pytest.raises(ValueError, match="NaN"):
        prompt_regression(FRAMES, np.append(VALUES[:-1], np.nan))
    with pytest.raises(ValueError, match="NaN"):
        prompt_regression(np.where(FRAMES == 0, np.nan, FRAMES), VALUES)
