"""The order of batches of several sources: one source a batch, and one for all ranks at a step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cmelt_plugin.data.batches.source_order import MIXES, source_batches

TEXT, ECHO = np.arange(103), np.arange(1000, 1027)


def batches(mix: str = "proportional", size: int = 8, n_ranks: int = 2, seed: int = 0) -> list[np.ndarray]:
    return source_batches([TEXT, ECHO], size, n_ranks, np.random.default_rng(seed), mix)


def source(batch: np.ndarray) -> str:
    sources = {"echo" if row >= 1000 else "text" for row in batch}
    assert len(sources) == 1
    return sources.pop()


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_all_ranks_have_the_same_source_at_a_step(mix: str, n_ranks: int) -> None:
    found = batches(mix, n_ranks=n_ranks)
    assert len(found) % n_ranks == 0 and all(len(batch) >= 2 for batch in found)
    steps = [found[start : start + n_ranks] for start in range(0, len(found), n_ranks)]
    assert all(len({source(batch) for batch in step}) == 1 for step in steps)
    assert {source(batch) for batch in found} == {"text", "echo"}
    rows = np.concatenate(found)
    assert len(np.unique(rows)) == len(rows)


def test_every_record_is_seen_once_where_batches_are_proportional() -> None:
    found = np.concatenate(batches())
    assert sorted(found) == sorted([*TEXT, *ECHO])
    sizes = Counter(len(batch) for batch in batches())
    assert sizes[8] == 14 and sum(sizes.values()) == 18  # 7 rows and 11 are left, four batches


def test_what_does_not_give_each_rank_a_pair_is_left_out() -> None:
    for rows, sizes in ((11, [4, 4]), (12, [4, 4, 2, 2]), (3, [])):
        found = source_batches([np.arange(rows)], 4, 2, np.random.default_rng(0))
        assert sorted(map(len, found), reverse=True) == sizes


def test_the_released_order_drops_what_is_left_and_uses_up_the_small_source_early() -> None:
    """Of 120 text batches and 12 of echocardiograms, whose chances are equal, the last of these comes in the first third."""
    rng = np.random.default_rng(43)
    found = source_batches([np.arange(963), np.arange(1000, 1100)], 8, 1, rng, "released")
    order = [source(batch) for batch in found]
    assert Counter(order) == {"text": 120, "echo": 12} and {len(batch) for batch in found} == {8}
    assert max(place for place, name in enumerate(order) if name == "echo") < 44
    proportional = [source(batch) for batch in source_batches([np.arange(963), np.arange(1000, 1100)], 8, 1, rng)]
    assert max(place for place, name in enumerate(proportional) if name == "echo") > 88


def test_seeds_decide() -> None:
    for mix in MIXES:
        one, same, other = ([source(batch) for batch in batches(mix, size=4, seed=seed)] for seed in (0, 0, 1))
        assert one == same != other


def test_an_empty_source_and_an_unknown_mix() -> None:
    assert len(source_batches([np.arange(8), np.arange(0)], 4, 1, np.random.default_rng(0))) == 2
    with pytest.raises(ValueError, match="mix must be one of proportional, released, not 'all'"):
        batches("all")
