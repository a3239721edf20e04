"""Farthest and balanced negatives against plain formulas, and the diagnostics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cmelt_plugin.errors import DataError
from preprocess.negatives.diagnostics import (
    diagnose,
    draw_records,
    example_pairs,
    marginal_auc,
    mean_distance,
    random_negatives,
    text_only_auc,
)
from preprocess.negatives.farthest import Farthest
from preprocess.negatives.frequency_matched import FrequencyMatched, fit_weights, sample_slots
from preprocess.negatives.mining import find_negatives


def unit_vectors(n: int, width: int = 8, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, width)) + shift
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def zipf_counts(n: int) -> np.ndarray:
    return np.maximum(1, 2 * n // np.arange(1, n + 1))


def marginal(counts: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """How often each report is a negative, from the definition."""
    result = np.zeros(len(counts))
    for own, row in enumerate(negatives):
        for other in row:
            result[other] += counts[own] / counts.sum() / len(row)
    return result


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(1, 12), st.integers(1, 25), st.integers(0, 1000))
def test_farthest_is_the_plain_formula(n: int, k: int, block: int, seed: int) -> None:
    vectors = unit_vectors(n, seed=seed)
    found = find_negatives(Farthest(vectors, k, block))
    distance = 1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(distance, -np.inf)
    k = min(k, n - 1)
    expected = np.sort(distance, axis=1)[:, ::-1][:, :k]
    assert found.shape == (n, k) and found.dtype == np.int32
    np.testing.assert_allclose(np.take_along_axis(distance, found, axis=1), expected, atol=1e-5)
    assert all(len(set(row)) == k for row in found.tolist())


def test_no_report_is_its_own_negative_even_where_all_coincide() -> None:
    same = np.tile(unit_vectors(1), (7, 1))
    zero = np.zeros((7, 8), dtype=np.float32)
    for vectors in (same, zero):
        for strategy in (Farthest(vectors, 6), FrequencyMatched(vectors, np.ones(7), 6)):
            found = find_negatives(strategy)
            assert (found != np.arange(7)[:, None]).all()
            assert found.min() >= 0 and found.max() < 7


@pytest.mark.parametrize("strategy", [lambda v, k: Farthest(v, k), lambda v, k: FrequencyMatched(v, np.ones(len(v)), k)])
def test_one_report_has_no_negatives(strategy) -> None:
    with pytest.raises(DataError, match="at least 2"):
        strategy(unit_vectors(1), 4)
    with pytest.raises(DataError, match="k must be"):
        strategy(unit_vectors(5), 0)


def test_balanced_never_picks_from_the_nearest_quarter() -> None:
    vectors = unit_vectors(200, width=4)
    found = find_negatives(FrequencyMatched(vectors, zipf_counts(200), 16))
    similarity = vectors @ vectors.T
    rank = np.argsort(np.argsort(-similarity, axis=1), axis=1)  # 0 = the report itself
    assert np.take_along_axis(rank, found, axis=1).min() >= 50


def test_balanced_keeps_to_the_farther_half_where_that_suffices() -> None:
    vectors = unit_vectors(200, width=16)
    found = find_negatives(FrequencyMatched(vectors, np.ones(200), 16))
    similarity = vectors @ vectors.T
    farther = np.take_along_axis(similarity, found, axis=1) <= np.median(similarity, axis=1, keepdims=True)
    assert farther.mean() > 0.95


@pytest.mark.parametrize(("pool", "block"), [(8192, 2048), (128, 64)])
def test_balanced_negatives_are_as_frequent_as_reports(pool: int, block: int) -> None:
    vectors, counts = unit_vectors(400, width=16), zipf_counts(400)
    own = counts / counts.sum()
    found = find_negatives(FrequencyMatched(vectors, counts, 64, pool=pool, block=block))
    error = np.abs(marginal(counts, found) - own).sum() / 2
    farthest = np.abs(marginal(counts, find_negatives(Farthest(vectors, 64))) - own).sum() / 2
    # Bounded from below by the size of a slot: one row of the most frequent report has 64 for 12 % of all negatives.
    assert error < (0.12 if pool > 400 else 0.3)
    assert farthest > 0.35


def test_balanced_serves_short_frequent_reports_that_are_near_to_most() -> None:
    """Where the farther half alone cannot reach the frequencies, the second quarter helps out."""
    vectors = unit_vectors(300, width=8, shift=0.7)
    centre = vectors.mean(axis=0)
    vectors[0] = centre / np.linalg.norm(centre)
    counts = np.ones(300, dtype=int)
    counts[0] = 40
    found = find_negatives(FrequencyMatched(vectors, counts, 32))
    assert marginal(counts, found)[0] == pytest.approx(counts[0] / counts.sum(), rel=0.15)


def test_balanced_depends_on_the_seed_alone() -> None:
    vectors, counts = unit_vectors(300), zipf_counts(300)
    first, again, other = (
        find_negatives(FrequencyMatched(vectors, counts, 8, seed=seed, pool=64, block=32)) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("make", [lambda v, c: Farthest(v, 8, block=32), lambda v, c: FrequencyMatched(v, c, 8, block=32)])
def test_going_on_after_some_blocks_gives_the_same(make) -> None:
    vectors, counts = unit_vectors(200), zipf_counts(200)
    kept: dict[int, np.ndarray] = {}
    whole = find_negatives(make(vectors, counts), store=kept.__setitem__)
    drawn: list[int] = []
    early = {index: kept[index] for index in (0, 1, 2)}
    resumed = find_negatives(make(vectors, counts), load=early.get, store=lambda index, picks: drawn.append(index))
    assert (resumed == whole).all()
    assert drawn == list(range(3, len(kept)))


def test_fitted_weights_reach_the_target() -> None:
    rng = np.random.default_rng(0)
    preference = (rng.random((30, 20)) < 0.6).astype(np.float32)
    preference[:, 0] = 1
    mass = rng.random(30)
    target = np.full(20, mass.sum() / 20)
    weights = fit_weights(preference, mass, target)
    reached = sum(m * row * weights / (row @ weights) for m, row in zip(mass, preference))
    np.testing.assert_allclose(reached, target, rtol=0.05)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 20), st.integers(0, 10_000))
def test_slots_are_the_expected_number_rounded(rows: int, columns: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.random((rows, columns)) * (rng.random((rows, columns)) < 0.7)
    probabilities[np.arange(rows), rng.integers(0, columns, rows)] += 0.1
    slots = sample_slots(probabilities, k, rng)
    assert slots.shape == (rows, k)
    for row, share in zip(slots, probabilities / probabilities.sum(axis=1, keepdims=True)):
        counts = np.bincount(row, minlength=columns)
        assert (np.abs(counts - k * share) < 1 + 1e-6).all()
        assert (counts[share == 0] == 0).all()


def test_records_are_drawn_by_frequency() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([3, 0, 2, 5])
    assert np.bincount(draw_records(counts, rng), minlength=4).tolist() == counts.tolist()
    some = draw_records(counts * 1000, rng, limit=2000)
    np.testing.assert_allclose(np.bincount(some, minlength=4) / 2000, counts / 10, atol=0.05)


def test_text_only_auc_sees_typical_negatives() -> None:
    vectors, counts = unit_vectors(60, width=16), np.full(60, 20)
    typical = np.tile(np.arange(10, dtype=np.int64), (60, 1))
    assert text_only_auc(vectors, counts, typical) > 0.7
    assert text_only_auc(vectors, counts, random_negatives(counts, 64)) == pytest.approx(0.5, abs=0.08)
    assert np.isnan(text_only_auc(vectors[:2], np.array([1, 1]), np.array([[1], [0]])))


def test_marginal_auc_is_that_of_the_likelihood_ratio() -> None:
    rng = np.random.default_rng(0)
    counts, negatives = rng.integers(1, 9, 30), rng.integers(0, 30, (30, 5))
    own, swapped = counts / counts.sum(), marginal(counts, negatives)
    score = np.round(swapped / own, 12)
    expected = roc_auc_score(
        np.repeat([0, 1], 30), np.concatenate([score, score]), sample_weight=np.concatenate([own, swapped])
    )
    assert marginal_auc(counts, negatives) == pytest.approx(expected, abs=1e-6)


def test_mean_distance_is_the_frequency_weighted_mean() -> None:
    vectors, counts = unit_vectors(12), np.arange(1, 13) * 100
    negatives = np.random.default_rng(0).integers(0, 12, (12, 4))
    distance = 1 - vectors @ vectors.T
    expected = sum(c * distance[i, negatives[i]].mean() for i, c in enumerate(counts)) / counts.sum()
    assert mean_distance(vectors, counts, negatives) == pytest.approx(expected, abs=0.02)


def test_balanced_hides_what_farthest_gives_away() -> None:
    vectors, counts = unit_vectors(300, width=16, shift=0.5), zipf_counts(300)
    farthest = diagnose(vectors, counts, find_negatives(Farthest(vectors, 32)))
    balanced = diagnose(vectors, counts, find_negatives(FrequencyMatched(vectors, counts, 32)))
    assert farthest["text_only_auc"] > 0.7
    assert balanced["text_only_auc"] < 0.55
    assert balanced["marginal_auc"] < balanced["random_marginal_auc"] < farthest["marginal_auc"]
    assert balanced["mean_distance"] > balanced["random_mean_distance"] + 0.1
    assert balanced["share_used"] > 0.95


def test_examples_are_of_the_most_frequent_reports() -> None:
    negatives = np.array([[1, 1, 2], [2, 2, 2], [0, 1, 0]])
    examples = example_pairs(["a", "b", "c"], np.array([1, 5, 3]), negatives, n_reports=2)
    assert examples == [{"report": "b", "negatives": ["c"]}, {"report": "c", "negatives": ["a", "b"]}]
