"""Recognising people: gallery and probe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.evaluation.metrics.identification import (
    gallery_and_probe,
    identify,
    own_ranks,
    top1_accuracy,
)


def slow_ranks(gallery, probe):
    ranks = []
    for i, p in enumerate(probe):
        cosine = [p @ g / (np.linalg.norm(p) * np.linalg.norm(g)) for g in gallery]
        ranks.append(1 + sum(c >= cosine[i] - 1e-12 for j, c in enumerate(cosine) if j != i))
    return ranks


@given(st.integers(0, 10_000), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_ranks_are_by_cosine_similarity(seed, chunk):
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(9, 4)) * rng.uniform(0.1, 10, (9, 1))
    probe = gallery + rng.normal(size=(9, 4))
    ranks = own_ranks(gallery, probe, chunk)
    assert ranks.tolist() == slow_ranks(gallery, probe)
    assert top1_accuracy(gallery, probe) == np.mean(ranks == 1)


def test_first_record_is_the_gallery_and_the_second_the_probe():
    gallery, probe = gallery_and_probe(["b", "a", "b", "", "a", "b", "", "once"])
    assert gallery.tolist() == [0, 1] and probe.tolist() == [2, 4]


def test_identify_by_hand():
    embeddings = np.array([[1.0, 0], [0, 1], [2, 0.1], [0.9, 1.0], [5, 5], [1, 0.2]])
    result = identify(embeddings, ["x", "y", "x", "z", "y", "z"])
    # x: found. y, probe (5, 5): z's (0.9, 1) is more similar than its own (0, 1), and x's (1, 0) as similar, so it counts.
    # z, probe (1, 0.2): x's (1, 0) is more similar.
    assert result.subjects == ["x", "y", "z"]
    assert result.ranks.tolist() == [1, 3, 2]
    assert result.top1 == pytest.approx(1 / 3) and result.mean_rank == 2


def test_an_encoder_that_maps_everybody_to_one_point_recognises_nobody():
    result = identify(np.ones((20, 3)), [str(i // 2) for i in range(20)])
    assert result.top1 == 0 and result.mean_rank == 10


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="no subject has two records"):
        identify(np.ones((2, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="2 embeddings for 1 subject"):
        identify(np.ones((2, 2)), ["a"])
    with pytest.raises(ValueError, match="same subjects"):
        own_ranks(np.ones((2, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="NaN"):
        own_ranks(np.full((1, 2), np.nan), np.ones((1, 2)))
