"""Recall at k against its definition, written as loops."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.evaluation.metrics.retrieval import (
    Direction,
    chance_recall,
    first_hit_ranks,
    pair_recalls,
    recall_intervals,
    retrieval_directions,
)
from cmelt_plugin.models.base import CosineSimilarity, Embedding

COSINE = CosineSimilarity()


def naive_hit(scores, correct, k):
    """Is a correct item among the k best, wrong items winning ties?"""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], correct[index]))
    return any(correct[index] for index in order[:k])


def test_ranks_by_hand():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    gallery = torch.tensor([[0.9, 0.1], [1.0, 0.0], [0.0, 0.5]])
    # Query 0 (report 7): item 1 scores higher than its own item 0. Query 1 (report 9): its own item 2 is the best.
    assert first_hit_ranks(
        COSINE, Embedding(query), Embedding(gallery), torch.tensor([7, 9]), torch.tensor([7, 8, 9])
    ).tolist() == [1, 0]


def test_a_copy_of_the_own_report_counts_as_correct():
    query = torch.tensor([[1.0, 0.0]])
    gallery = torch.tensor([[0.1, 0.0], [1.0, 0.0]])
    assert first_hit_ranks(COSINE, Embedding(query), Embedding(gallery), torch.tensor([3]), torch.tensor([3, 3])).tolist() == [
        0
    ]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_recalls_equal_the_definition(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 25))
    # Small whole numbers, so that ties occur.
    ecg, text = (torch.tensor(rng.integers(-2, 3, (n, 3)), dtype=torch.float32) for _ in range(2))
    report = torch.tensor(rng.integers(0, max(2, n // 2), n))
    recalls = pair_recalls(COSINE, Embedding(ecg), Embedding(text), report)
    scores = (ecg @ text.T).numpy()
    same = (report[:, None] == report[None, :]).numpy()
    for k in (1, 5, 10):
        expected = np.mean([naive_hit(scores[i], same[i], k) for i in range(n)])
        assert recalls[f"ecg_to_text_r{k}"] == pytest.approx(expected)
        expected = np.mean([naive_hit(scores[:, i], same[:, i], k) for i in range(n)])
        assert recalls[f"text_to_ecg_r{k}"] == pytest.approx(expected)


def test_blocks_do_not_change_ranks():
    generator = torch.Generator().manual_seed(1)
    ecg, text = torch.randn(1500, 4, generator=generator), torch.randn(1500, 4, generator=generator)
    report = torch.arange(1500)
    ranks = first_hit_ranks(COSINE, Embedding(ecg), Embedding(text), report, report)
    scores = ecg @ text.T
    expected = (scores > scores.diagonal()[:, None]).sum(1)
    assert torch.equal(ranks, expected)


def test_a_collapsed_encoder_is_as_bad_as_can_be():
    report = torch.arange(30)
    everywhere = Embedding(torch.ones(30, 4))
    assert set(pair_recalls(COSINE, everywhere, everywhere, report).values()) == {0.0}


@pytest.mark.parametrize("report", [[0, 1, 2, 3], [0, 0, 1, 2], [0, 0, 0, 1], [5, 5, 5, 5]])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_chance_is_the_mean_over_all_orders(report, k):
    orders = list(permutations(range(4)))
    expected = np.mean([any(report[j] == own for j in order[:k]) for order in orders for own in report])
    assert chance_recall(4, np.array([report.count(own) for own in report]), k) == pytest.approx(expected)


@st.composite
def paired(draw):
    u = draw(st.integers(2, 6))
    report = [*range(u), *draw(st.lists(st.integers(0, u - 1), max_size=12))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ecg = torch.from_numpy(rng.normal(size=(len(report), 4)))
    return ecg, torch.from_numpy(rng.normal(size=(u, 4))), torch.tensor(report)


@given(paired())
@settings(deadline=None)
def test_ranks_against_sorting(pair):
    ecg, text, report = pair
    n, u = len(ecg), len(text)
    scores = (ecg @ text.T).numpy()
    of = report.numpy()
    expected = {
        ("pairs", "ecg_to_text"): [[scores[i, of[j]] for j in range(n)] for i in range(n)],
        ("pairs", "text_to_ecg"): [[scores[j, of[i]] for j in range(n)] for i in range(n)],
        ("distinct", "ecg_to_text"): [[scores[i, t] for t in range(u)] for i in range(n)],
        ("distinct", "text_to_ecg"): [[scores[j, t] for j in range(n)] for t in range(u)],
    }
    items = {
        ("pairs", "ecg_to_text"): (of, of),
        ("pairs", "text_to_ecg"): (of, of),
        ("distinct", "ecg_to_text"): (of, np.arange(u)),
        ("distinct", "text_to_ecg"): (np.arange(u), of),
    }
    for direction in retrieval_directions(COSINE, Embedding(ecg), Embedding(text), report):
        key = direction.gallery, direction.name
        query_report, gallery_report = items[key]
        for query, row in enumerate(expected[key]):
            order = np.argsort(-np.array(row), kind="stable")
            right = gallery_report[order] == query_report[query]
            assert direction.ranks[query] == np.flatnonzero(right)[0] + 1
            assert direction.right[query] == right.sum() and direction.gallery_size == len(row)
        assert direction.median_rank == np.median(direction.ranks)


@given(paired(), st.sampled_from([1, 2, 5, 10]))
@settings(deadline=None)
def test_all_pairs_are_those_of_validation(pair, k):
    ecg, text, report = pair
    of_pairs = pair_recalls(COSINE, Embedding(ecg), Embedding(text[report]), report, depths=(k,))
    for direction in retrieval_directions(COSINE, Embedding(ecg), Embedding(text), report):
        if direction.gallery == "pairs":
            assert direction.recall(k) == pytest.approx(of_pairs[f"{direction.name}_r{k}"])


def test_chance_is_what_shuffling_gives():
    """Three queries with 1, 2 and 4 right items among 9, by 20,000 random orders."""
    right = np.array([1, 2, 4])
    rng = np.random.default_rng(0)
    first = np.stack([np.argmax(rng.permuted(np.tile(np.arange(9) < m, (20000, 1)), axis=1), axis=1) + 1 for m in right])
    direction = Direction("pairs", "ecg_to_text", np.ones(3, dtype=int), right, 9)
    for k in (1, 3, 9, 20):
        assert direction.chance_recall(k) == pytest.approx(np.mean(first <= k), abs=0.01)
    assert direction.chance_median_rank == np.median(first)


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_chance_of_texts_with_copies_is_the_mean_over_all_orders_of_the_texts(k):
    copies = np.array([1, 1, 2, 6])
    hits = []
    for order in permutations(range(4)):
        for own in range(4):
            wrong = sum(copies[text] for text in order[: order.index(own)])
            hits += [wrong < k] * copies[own]
    direction = Direction("pairs", "ecg_to_text", np.ones(10), np.repeat(copies, copies), 10, copies)
    assert direction.chance_recall(k) == pytest.approx(np.mean(hits), abs=0.02)


def test_an_encoder_of_random_scores_recalls_what_chance_says():
    """Texts with very unequal numbers of copies: the chance of items in random order would be twice as high."""
    rng = np.random.default_rng(0)
    copies = np.array([60, 40, 30, *[1] * 30])
    report = torch.from_numpy(np.repeat(np.arange(len(copies)), copies))
    recalled = []
    for _ in range(30):
        ecg, text = (Embedding(torch.from_numpy(rng.normal(size=(n, 64)))) for n in (len(report), len(copies)))
        direction = retrieval_directions(COSINE, ecg, text, report)[0]
        recalled.append(direction.recall(10))
    assert direction.name == "ecg_to_text"
    assert np.mean(recalled) == pytest.approx(direction.chance_recall(10), abs=0.02)
    assert chance_recall(len(report), direction.right, 10) > 1.5 * direction.chance_recall(10)
    assert direction.chance_median_rank > Direction("pairs", "", np.ones(1), direction.right, len(report)).chance_median_rank


def test_chance_median_of_one_right_item_is_the_middle():
    assert Direction("distinct", "ecg_to_text", np.ones(2), np.ones(2, dtype=int), 10).chance_median_rank == 5
    assert Direction("distinct", "ecg_to_text", np.ones(2), np.ones(2, dtype=int), 11).chance_median_rank == 6
    assert Direction("distinct", "ecg_to_text", np.ones(1), np.array([1]), 1).chance_median_rank == 1


def test_intervals_resample_whole_subjects():
    """Two subjects, one always right, one never: a resample has 0, 1/2 or all, weighted by their records."""
    ranks = np.array([1, 1, 1, 50])
    direction = Direction("pairs", "ecg_to_text", ranks, np.ones(4, dtype=int), 100)
    found = recall_intervals([direction], ["a", "a", "a", "b"], n=400, seed=0)
    assert found["ecg_to_text_r1"] == (0.0, 1.0)
    one = recall_intervals([direction], ["a"] * 4, n=50, seed=0)
    assert one["ecg_to_text_r10"] == (0.75, 0.75)
