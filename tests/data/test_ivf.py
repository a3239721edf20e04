"""Searches behind the farthest strategy: PyTorch's finds what FAISS's does, inverted lists nearly so, and say how nearly."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from preprocess.negatives import inner_product_search
from preprocess.negatives.inner_product_search import FaissSearch, InvertedLists, TorchSearch, exact_search, recall
from preprocess.negatives.mining import Farthest, find_negatives, metric_name


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


def test_a_gpu_without_a_faiss_for_it_is_searched_through_torch(monkeypatch) -> None:
    vectors = clustered(60)
    assert isinstance(exact_search(vectors, "cpu"), FaissSearch)
    made = []

    def on_cpu(vectors: np.ndarray, device: torch.device) -> TorchSearch:
        made.append(device.type)
        return TorchSearch(vectors, "cpu")

    zeros = torch.zeros
    monkeypatch.setattr(inner_product_search, "TorchSearch", on_cpu)
    monkeypatch.setattr(inner_product_search, "_faiss_sees_a_gpu", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *size, device=None: zeros(*size))
    found = find_negatives(Farthest(vectors, 8, block=16))
    expected = find_negatives(Farthest(vectors, 8, block=16, device="cpu"))
    asked = find_negatives(Farthest(vectors, 8, block=16, device="cuda:1"))
    assert made == ["cuda", "cuda"]
    for table in (found, asked):
        assert share_found(vectors, table) == share_found(vectors, expected) == 1.0


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


def test_the_recall_told_is_that_of_the_negatives() -> None:
    vectors = clustered(2000)
    told = []
    for nprobe in (1, 8, 24):
        strategy = Farthest(vectors, 32, index="ivf", nlist=48, nprobe=nprobe)
        told.append(strategy.info["recall"])
        # 256 of 2,000 reports were asked, whose recalls differ.
        assert told[-1] == pytest.approx(share_found(vectors, find_negatives(strategy)), abs=0.05)
    assert told[0] < 0.9 < 0.97 < told[2] and told == sorted(told)


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


def test_lists_hold_every_vector_once_in_no_more_room_than_it_takes(monkeypatch) -> None:
    monkeypatch.setattr(inner_product_search, "BLOCK_BYTES", 4 * 16 * 100)  # 100 rows a block
    vectors = clustered(1030)
    lists = InvertedLists(vectors, nlist=12)
    inverted = lists.index.invlists
    sizes = [inverted.list_size(number) for number in range(12)]
    ids = [faiss.rev_swig_ptr(inverted.get_ids(number), size).copy() for number, size in enumerate(sizes) if size]
    assert sorted(np.concatenate(ids).tolist()) == list(range(1030))
    for number, size in enumerate(sizes):
        if size:
            codes = faiss.rev_swig_ptr(inverted.get_codes(number), size * 68).view(np.float32).reshape(size, 17)
            assert (codes[:, :16] == vectors[faiss.rev_swig_ptr(inverted.get_ids(number), size)]).all()
            assert (codes[:, 16] == 0).all()


def test_lists_are_chosen_by_how_far_they_reach() -> None:
    """Two lists: the wide one's centre is the nearer to the query, its edge is not; only one list is looked through."""
    rng = np.random.default_rng(0)
    narrow = np.array([0.3, 10.0], dtype=np.float32) + 0.01 * rng.standard_normal((50, 2), dtype=np.float32)
    wide = np.array([0.0, -10.0], dtype=np.float32) + 1.0 * rng.standard_normal((50, 2), dtype=np.float32)
    vectors = np.concatenate([narrow, wide])
    found = InvertedLists(vectors, nlist=2, nprobe=1).search(np.array([[1, 0]], dtype=np.float32), 1)
    assert found[0, 0] == vectors[:, 0].argmax() >= 50


def test_only_a_sample_is_trained_on(monkeypatch) -> None:
    seen = []
    train = faiss.Kmeans.train
    monkeypatch.setattr(faiss.Kmeans, "train", lambda means, rows: (seen.append(len(rows)), train(means, rows)))
    InvertedLists(clustered(1000), nlist=4)
    assert seen == [256]


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
