"""Recall at k against its definition, written as loops."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.evaluation.metrics.recall import chance_recall, first_hit_ranks, retrieval_figures
from examples.demo.distinct_retrieval import distinct_retrieval


def naive_hit(scores, correct, k):
    """Is a correct item among the k best, wrong items winning ties?"""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], correct[index]))
    return any(correct[index] for index in order[:k])


def test_ranks_by_hand():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    gallery = torch.tensor([[0.9, 0.1], [1.0, 0.0], [0.0, 0.5]])
    # Query 0 (report 7): item 1 scores higher than its own item 0. Query 1 (report 9): its own item 2 is the best.
    assert first_hit_ranks(query, gallery, torch.tensor([7, 9]), torch.tensor([7, 8, 9])).tolist() == [1, 0]


def test_a_copy_of_the_own_report_counts_as_correct():
    query = torch.tensor([[1.0, 0.0]])
    gallery = torch.tensor([[0.1, 0.0], [1.0, 0.0]])
    assert first_hit_ranks(query, gallery, torch.tensor([3]), torch.tensor([3, 3])).tolist() == [0]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_figures_equal_the_definition(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 25))
    # Small whole numbers, so that ties occur.
    ecg, text = (torch.tensor(rng.integers(-2, 3, (n, 3)), dtype=torch.float32) for _ in range(2))
    report = torch.tensor(rng.integers(0, max(2, n // 2), n))
    figures = retrieval_figures(ecg, text, report)
    scores = (ecg @ text.T).numpy()
    same = (report[:, None] == report[None, :]).numpy()
    for k in (1, 5, 10):
        expected = np.mean([naive_hit(scores[i], same[i], k) for i in range(n)])
        assert figures[f"ecg_to_text_r{k}"] == pytest.approx(expected)
        expected = np.mean([naive_hit(scores[:, i], same[:, i], k) for i in range(n)])
        assert figures[f"text_to_ecg_r{k}"] == pytest.approx(expected)


def test_blocks_do_not_change_ranks():
    generator = torch.Generator().manual_seed(1)
    ecg, text = torch.randn(1500, 4, generator=generator), torch.randn(1500, 4, generator=generator)
    report = torch.arange(1500)
    ranks = first_hit_ranks(ecg, text, report, report)
    scores = ecg @ text.T
    expected = (scores > scores.diagonal()[:, None]).sum(1)
    assert torch.equal(ranks, expected)


def test_a_collapsed_encoder_is_as_bad_as_can_be():
    report = torch.arange(30)
    figures = retrieval_figures(torch.ones(30, 4), torch.ones(30, 4), report)
    assert set(figures.values()) == {0.0}


@pytest.mark.parametrize("report", [[0, 1, 2, 3], [0, 0, 1, 2], [0, 0, 0, 1], [5, 5, 5, 5]])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_chance_is_the_mean_over_all_orders(report, k):
    orders = list(permutations(range(4)))
    expected = np.mean([any(report[j] == own for j in order[:k]) for order in orders for own in report])
    assert chance_recall(np.array(report), k) == pytest.approx(expected)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_distinct_retrieval_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    u = int(rng.integers(2, 8))
    report = np.concatenate([np.arange(u), rng.integers(0, u, int(rng.integers(0, 10)))])
    ecg = torch.tensor(rng.integers(-2, 3, (len(report), 3)), dtype=torch.float32)
    text = torch.tensor(rng.integers(-2, 3, (u, 3)), dtype=torch.float32)
    result = distinct_retrieval(ecg, text, torch.from_numpy(report), k=2)
    scores = (ecg @ text.T).numpy()
    hits = [naive_hit(scores[i], np.arange(u) == report[i], 2) for i in range(len(report))]
    assert result["ecg_to_text"].recall == pytest.approx(np.mean(hits))
    assert result["ecg_to_text"].chance == pytest.approx(2 / u)
    hits = [naive_hit(scores[:, j], report == j, 2) for j in range(u)]
    assert result["text_to_ecg"].recall == pytest.approx(np.mean(hits))


def test_distinct_chance_is_the_mean_over_all_orders():
    report = np.array([0, 0, 1, 2])
    orders = list(permutations(range(4)))
    expected = np.mean([any(report[j] == own for j in order[:2]) for order in orders for own in range(3)])
    result = distinct_retrieval(torch.eye(4), torch.eye(4)[:3], torch.from_numpy(report), k=2)
    assert result["text_to_ecg"].chance == pytest.approx(expected)
