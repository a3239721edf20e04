"""Reports that need no writing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cmelt_plugin.evaluation.embedding.pairs import PairedSplit
from cmelt_plugin.evaluation.generate import baselines
from cmelt_plugin.evaluation.generate.baselines import most_frequent, nearest_records
from cmelt_plugin.models.base import CosineSimilarity, Embedding


@pytest.mark.parametrize("rows", [3, 10, 100])
def test_the_nearest_is_found_whatever_is_compared_at_once(rows, monkeypatch):
    monkeypatch.setattr(baselines, "GALLERY_ROWS", rows)
    generator = torch.Generator().manual_seed(0)
    gallery = F.normalize(torch.randn(40, 5, generator=generator), dim=1)
    gallery[31] = gallery[7]  # of equal ones the first
    queries = torch.cat([gallery[[7, 39, 0]], F.normalize(torch.randn(20, 5, generator=generator), dim=1)])
    encoder = SimpleNamespace(model=CosineSimilarity(), device="cpu")
    found = nearest_records(encoder, Embedding(queries), Embedding(gallery))
    np.testing.assert_array_equal(found, (queries @ gallery.T).argmax(dim=1))
    assert found[:3].tolist() == [7, 39, 0]


def test_the_most_frequent_report_is_that_of_most_records():
    pairs = PairedSplit(np.arange(5), np.array([0, 1, 1, 2, 2]), np.array([4, 6, 9]), 0)
    assert most_frequent(pairs) == 6
