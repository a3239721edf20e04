"""C-MELT's collation, ours and the naive one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.systems.cmelt.collation import CollationPair, K
from benchmarks.systems.cmelt.system import SYSTEM


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> CollationPair:
    return CollationPair(SYSTEM, tmp_path_factory.mktemp("pair"), n_records=24, n_reports=150, encoder="tiny")


def test_both_collators_draw_from_the_farthest_reports(pair: CollationPair) -> None:
    assert pair.check(np.arange(16))
    gallery = pair.naive.index.reconstruct_n(0, 150)
    own = pair.naive.embed(pair.naive.texts[2])[0]
    farthest = set(np.argsort(gallery @ own)[:K].tolist())
    assert len(farthest & set(pair.naive.farthest(2).tolist())) >= K - 1


def test_the_check_of_collation_notices_other_negatives(pair: CollationPair, monkeypatch) -> None:
    nearest = np.argsort(-pair.naive.index.reconstruct_n(0, 150) @ pair.naive.embed(pair.naive.texts[0])[0])[:K]
    monkeypatch.setattr(pair.naive, "farthest", lambda report: nearest)
    with pytest.raises(AssertionError, match="other negatives"):
        pair.check(np.arange(16))


def test_naive_word_mask_chooses_a_quarter_and_keeps_the_rest(pair: CollationPair) -> None:
    ids = torch.arange(10, 50).repeat(3, 1)
    real = torch.ones_like(ids, dtype=torch.bool)
    real[1, 20:] = False
    masked, chosen, target = pair.naive.mask_words(ids, real, np.random.default_rng(0))
    assert chosen.sum(dim=1).tolist() == [10, 5, 10]
    assert not (chosen & ~real).any()
    assert torch.equal(masked[~chosen], ids[~chosen]) and torch.equal(target, ids[chosen])
    assert (masked[chosen] == pair.naive.mask_id).any()
