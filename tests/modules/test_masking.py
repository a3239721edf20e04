"""Token masking: how many, which first, and that the shuffle can be undone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.modules.masking import gather_tokens, mask_tokens, masked_states


@st.composite
def noises(draw):
    rows, tokens = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    # Few distinct values in half of the cases: ties must not break anything.
    noise = torch.randint(0, draw(st.sampled_from([3, 2**31])), (rows, tokens), generator=generator)
    n_real = torch.tensor(draw(st.lists(st.integers(1, tokens), min_size=rows, max_size=rows)))
    padding = torch.arange(tokens)[None, :] >= n_real[:, None]
    return noise, padding if draw(st.booleans()) else None


@settings(max_examples=150, deadline=None)
@given(noises(), st.floats(0, 0.99))
def test_a_mask_is_a_shuffle_that_can_be_undone(case, ratio: float) -> None:
    noise, padding = case
    rows, tokens = noise.shape
    mask = mask_tokens(noise, ratio, padding)
    n_places = mask.keep_ids.shape[1]
    assert n_places == max(1, int(tokens * (1 - ratio)))
    # Each record keeps its share of its own real tokens.
    n_real = [tokens] * rows if padding is None else (~padding).sum(1).tolist()
    n_keep = [max(1, int(n * (1 - ratio))) for n in n_real]
    assert (~mask.dropped).sum(1).tolist() == n_keep
    unused = torch.zeros(rows, n_places, dtype=torch.bool) if mask.unused is None else mask.unused
    assert (mask.unused is None) == (padding is None) and (~unused).sum(1).tolist() == n_keep
    # restore_ids is a permutation whose first n_keep places are the visible tokens, in keep_ids' order.
    assert torch.equal(mask.restore_ids.sort(1).values, torch.arange(tokens).expand(rows, -1))
    assert torch.equal(mask.restore_ids.gather(1, mask.keep_ids), torch.arange(n_places).expand(rows, -1))
    assert torch.equal(mask.dropped.gather(1, mask.keep_ids), unused)
    # Put back, every visible token stands where it stood.
    states = torch.arange(rows * tokens, dtype=torch.float32).view(rows, tokens, 1)
    visible = gather_tokens(states, mask.keep_ids)
    visible[unused] = -1.0
    filled = torch.cat([visible, torch.full((rows, tokens - n_places, 1), -1.0)], dim=1)
    restored = gather_tokens(filled, mask.restore_ids)
    assert torch.equal(restored, torch.where(mask.dropped.unsqueeze(-1), torch.tensor(-1.0), states))
    if padding is not None:
        assert mask.dropped[padding].all()
        nothing = mask_tokens(noise, ratio, torch.zeros_like(padding))
        whole = mask_tokens(noise, ratio)
        assert all(torch.equal(a, b) for a, b in zip(nothing[:3], whole)) and not nothing.unused.any()


def test_the_largest_noise_is_dropped() -> None:
    mask = mask_tokens(torch.tensor([[5, 1, 4, 2]]), 0.5)
    assert mask.dropped.tolist() == [[True, False, True, False]]
    assert mask.keep_ids.tolist() == [[1, 3]]


def test_paper_sizes() -> None:
    mask = mask_tokens(torch.randint(0, 2**31, (2, 312)), 0.75)
    assert mask.keep_ids.shape == (2, 78)
    assert mask.dropped.sum(1).tolist() == [234, 234]


def test_padding_does_not_count_as_masked() -> None:
    """It did: of 7 seconds 64 % of the real tokens were masked in place of 75 %, of 5 seconds 50 %."""
    n_real = torch.tensor([312, 218, 156, 50, 1])
    mask = mask_tokens(torch.randint(0, 2**31, (5, 312)), 0.75, torch.arange(312)[None, :] >= n_real[:, None])
    assert (~mask.dropped).sum(1).tolist() == [78, 54, 39, 12, 1]


@pytest.mark.parametrize("ratio", [-0.1, 1.0])
def test_impossible_ratio_raises(ratio: float) -> None:
    with pytest.raises(ValueError, match="mask ratio"):
        mask_tokens(torch.zeros(1, 4, dtype=torch.long), ratio)


def test_masked_states_are_those_of_boolean_indexing() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(4, 9, 5, generator=generator)
    for share in (0.0, 0.3, 1.0):
        mask = torch.rand(4, 9, generator=generator) < share
        assert torch.equal(masked_states(states, mask, int(mask.sum())), states[mask])
        assert torch.equal(masked_states(states, mask), states[mask])
