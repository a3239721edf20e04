"""The embeddings that inverted lists are measured on, and the arithmetic of the ratios."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cases import ivf_recall
from benchmarks.cases.ivf_recall import figures_of, fresh, report_like_embeddings


def test_embeddings_are_unit_vectors_with_a_common_direction_and_few_large_clusters(monkeypatch) -> None:
    monkeypatch.setattr(ivf_recall, "BLOCK", 700)
    vectors = report_like_embeddings(3000, 32)
    assert vectors.dtype == np.float32 and vectors.shape == (3000, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similarity = vectors @ vectors.T
    assert 0.2 < similarity.mean() < 0.8
    near = (similarity > 0.9).sum(axis=1)
    # Of 60 clusters whose sizes fall as 1 / rank the largest holds a fifth of all, the median one 20 reports.
    assert near.max() > 300 and np.median(near) < near.max() / 3
    assert (report_like_embeddings(3000, 32) == vectors).all()


def test_ratios_are_of_the_whole_search_with_the_lists_built() -> None:
    answer = {"k": 64, "nlist": 100, "build": 10.0, "exact": [2.0, 2.0], "peak": 5.0, "process_peak": 9.0}
    answer["ivf"] = {"16": {"recall": 0.75, "seconds": [0.5, 0.5]}}
    ratios, figures = figures_of(1000, 50, answer)  # 20 times the sample
    assert {ratio.name: ratio.value for ratio in ratios} == {
        "whole search at 1,000, nprobe 16: exact / ivf": 40 / (10 + 10),
        "looking through at 1,000, nprobe 16: exact / ivf": 4.0,
    }
    values = {figure.name: figure.value for figure in figures}
    assert values["recall@64 at 1,000, nprobe 16"] == 75
    assert values["exact at 1,000, whole search"] == 40 and values["ivf at 1,000, nprobe 16, whole search"] == 20


def test_more_lists_find_more() -> None:
    answer = fresh(3000, 16, queries=50, rounds=1)
    found = [each["recall"] for each in answer["ivf"].values()]
    assert found == sorted(found) and found[0] < found[-1] == pytest.approx(1, abs=0.01)
    assert answer["nlist"] == 220 and 0 <= answer["peak"] < answer["process_peak"]
