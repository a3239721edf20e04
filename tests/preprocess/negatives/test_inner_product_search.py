"""Searches behind the farthest strategy: PyTorch's finds what FAISS's does, inverted lists nearly so, and say how nearly."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from preprocess.negatives.farthest import Farthest, metric_name
from preprocess.negatives.inner_product_search import (
    FAISS,
    TORCH,
    FaissSearch,
    InvertedLists,
    TorchSearch,
    choose_library,
    recall,
)
from preprocess.negatives.mining import find_negatives


def clustered(n: int, width: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(2, n // 40), width)) + rng.standard_normal(width)
    vectors = centres[rng.integers(0, len(centres), n)] + 0.4 * rng.standard_normal((n, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def share_found(vectors: np.ndarray, negatives: np.ndarray) -> float:
    """Recall from the definition, all rows, ties to 1e-6 included."""
    similarity = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(similarity, np.inf)
    k = negatives.shape[1]
    last = np.sort(similarity, axis=1)[:, k - 1 : k]
    return float((np.take_along_axis(similarity, negatives.astype(np.int64), axis=1) <= last + 1e-6).mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 80), st.integers(1, 20), st.integers(1, 30), st.integers(0, 1000))
def test_torch_finds_what_faiss_finds(n: int, k: int, columns: int, seed: int) -> None:
    vectors = clustered(n, seed=seed)
    k = min(k, n)
    queries = -vectors[: n // 2 + 1]
    ours = TorchSearch(vectors, "cpu", columns).search(queries, k)
    theirs = FaissSearch(vectors).search(queries, k)
    assert ours.shape == theirs.shape == (len(queries), k) and ours.dtype == np.int64
    similarity = queries @ vectors.T
    found, expected = (np.take_along_axis(similarity, indices, axis=1) for indices in (ours, theirs))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (np.diff(found, axis=1) <= 1e-6).all()
    assert all(len(set(row)) == k for row in ours.tolist())


def test_searching_without_an_index_is_what_the_flat_index_gives_bit_for_bit() -> None:
    vectors = clustered(500)
    index = faiss.IndexFlatIP(16)
    index.add(vectors)
    assert (FaissSearch(vectors).search(-vectors, 65) == index.search(-vectors, 65)[1]).all()


def test_torch_leaves_the_precision_of_matrix_products_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        TorchSearch(clustered(10), "cpu").search(clustered(3), 2)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("device", "torch_has_gpu", "faiss_has_gpu", "expected"),
    [
        ("cpu", True, True, (FAISS, "cpu")),
        ("auto", False, False, (FAISS, "cpu")),
        ("auto", True, False, (TORCH, "cuda")),  # a GPU without a FAISS for it is searched through PyTorch
        ("auto", True, True, (FAISS, "cuda")),
        ("cuda:1", True, False, (TORCH, "cuda:1")),
        ("cuda:1", True, True, (FAISS, "cuda:1")),
        ("mps", False, True, (TORCH, "mps")),
    ],
)
def test_which_library_searches(device, torch_has_gpu, faiss_has_gpu, expected) -> None:
    assert choose_library(device, torch_has_gpu, faiss_has_gpu) == expected


def test_a_device_that_is_not_there_is_a_clear_error() -> None:
    for device in ("cuda:99", "nonsense"):
        with pytest.raises(DataError, match=f"device {device}"):
            Farthest(clustered(10), 2, device=device)


def test_all_lists_together_are_the_exact_search() -> None:
    vectors = clustered(300)
    strategy = Farthest(vectors, 20, block=64, index="ivf", nlist=10, nprobe=10)
    assert share_found(vectors, find_negatives(strategy)) == 1.0
    assert strategy.info == {"index": "ivf", "nlist": 10, "nprobe": 10, "recall": 1.0, "recall_reports": 256}
    assert Farthest(vectors, 20).info == {"index": "exact"}


def test_the_recall_in_the_description_is_that_of_the_negatives() -> None:
    vectors = clustered(2000)
    recalls = []
    for nprobe in (1, 8, 24):
        strategy = Farthest(vectors, 32, index="ivf", nlist=48, nprobe=nprobe)
        recalls.append(strategy.info["recall"])
        # 256 of 2,000 reports were asked, whose recalls differ.
        assert recalls[-1] == pytest.approx(share_found(vectors, find_negatives(strategy)), abs=0.05)
    assert recalls[0] < 0.9 < 0.97 < recalls[2] and recalls == sorted(recalls)


def test_inverted_lists_depend_on_the_seed_alone() -> None:
    vectors = clustered(1500)
    first, again, other = (
        find_negatives(Farthest(vectors, 16, index="ivf", nlist=20, nprobe=2, seed=seed)) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_lists_too_short_for_k_are_joined_by_others() -> None:
    vectors = clustered(120)
    found = find_negatives(Farthest(vectors, 60, block=50, index="ivf", nlist=30, nprobe=1))
    assert found.min() >= 0 and (found != np.arange(120)[:, None]).all()
    assert all(len(set(row)) == 60 for row in found.tolist())


def test_no_report_is_its_own_negative_where_all_coincide() -> None:
    for vectors in (np.tile(clustered(1), (7, 1)), np.zeros((7, 16), dtype=np.float32)):
        found = find_negatives(Farthest(vectors, 6, index="ivf"))
        assert sorted(found[3]) == [0, 1, 2, 4, 5, 6]


def test_lists_hold_every_vector_once() -> None:
    vectors = clustered(1030)
    found = InvertedLists(vectors, nlist=12).search(-vectors[:3], 1030, nprobe=12)
    assert (np.sort(found, axis=1) == np.arange(1030)).all()


def test_lists_are_chosen_by_how_far_they_reach() -> None:
    """Two lists: the wide one's centre is the nearer to the query, its edge is not; only one list is looked through."""
    rng = np.random.default_rng(0)
    narrow = np.array([0.3, 10.0], dtype=np.float32) + 0.01 * rng.standard_normal((50, 2), dtype=np.float32)
    wide = np.array([0.0, -10.0], dtype=np.float32) + 1.0 * rng.standard_normal((50, 2), dtype=np.float32)
    vectors = np.concatenate([narrow, wide])
    found = InvertedLists(vectors, nlist=2, nprobe=1).search(np.array([[1, 0]], dtype=np.float32), 1)
    assert found[0, 0] == vectors[:, 0].argmax() >= 50


def test_recall_counts_rows_as_similar_as_the_last_true_one() -> None:
    exact = np.array([[0.9, 0.5], [0.8, 0.8]])
    assert recall(np.array([[0.9, 0.5], [0.8, 0.8]]), exact) == 1.0
    assert recall(np.array([[0.9, 0.4], [0.8, 0.7]]), exact) == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "hnsw"}, "exact, ivf"),
        ({"nprobe": 3}, "settings of the ivf index"),
        ({"nlist": 3}, "settings of the ivf index"),
        ({"index": "ivf", "nlist": 0}, "nlist 0"),
        ({"index": "ivf", "nprobe": -1}, "nprobe -1"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Farthest(clustered(20), 4, **options)


def test_a_small_split_has_as_many_lists_as_it_can() -> None:
    """The same --nlist serves the splits of a manifest, whatever their sizes."""
    vectors = clustered(20)
    strategy = Farthest(vectors, 4, index="ivf", nlist=4096, nprobe=64)
    assert (strategy.info["nlist"], strategy.info["nprobe"]) == (20, 20)
    assert share_found(vectors, find_negatives(strategy)) == 1.0


def test_a_small_split_is_searched_nearly_in_full_by_default() -> None:
    info = Farthest(clustered(400), 8, index="ivf").info
    assert (info["nlist"], info["nprobe"]) == (80, 64) and info["recall"] > 0.98


def test_the_metric_tells_searches_apart() -> None:
    assert metric_name() == metric_name("exact") == "cosine distance"
    assert len({metric_name(), metric_name("ivf"), metric_name("ivf", 8), metric_name("ivf", 8, 2)}) == 4
