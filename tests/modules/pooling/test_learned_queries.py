"""Pooling with learned queries: the formula, padding, and where the queries look."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cmelt_plugin.modules.pooling.learned_queries import AttentionalPooler


def pooler(dim: int, context_dim: int) -> AttentionalPooler:
    torch.manual_seed(0)
    made = AttentionalPooler(5, dim, context_dim, heads=4).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def by_torch(made: AttentionalPooler, states: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
    """PyTorch's multi-head attention with the same weights: result and weights."""
    attention, dim = made.attention, made.queries.shape[1]
    theirs = nn.MultiheadAttention(dim, 4, kdim=states.shape[-1], vdim=states.shape[-1], batch_first=True)
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    with torch.no_grad():
        if states.shape[-1] == dim:
            theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        else:
            for name, part in zip("qkv", parts):
                getattr(theirs, f"{name}_proj_weight").copy_(part.weight)
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.load_state_dict(attention.out_proj.state_dict())
    queries, context = made.query_norm(made.queries).expand(len(states), -1, -1), made.context_norm(states)
    out, weights = theirs(queries, context, context, key_padding_mask=padding)
    return made.out_norm(out), weights


@pytest.mark.parametrize("context_dim", [16, 24])
@pytest.mark.parametrize("padded", [False, True])
def test_it_is_one_attention_between_norms(context_dim: int, padded: bool) -> None:
    made, states = pooler(16, context_dim), torch.randn(3, 9, context_dim)
    padding = torch.arange(9) >= torch.tensor([9, 1, 5])[:, None] if padded else None
    expected, weights = by_torch(made, states, padding)
    torch.testing.assert_close(made(states, padding), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made.weights(states, padding), weights, rtol=1e-5, atol=1e-6)


def test_a_padded_sequence_is_one_that_is_cut() -> None:
    made, states = pooler(16, 24), torch.randn(2, 9, 24)
    padding = torch.arange(9) >= torch.tensor([9, 4])[:, None]
    found = made(states.masked_fill(padding[..., None], 100.0), padding)
    torch.testing.assert_close(found[1], made(states[1:, :4])[0], rtol=1e-5, atol=1e-5)
    weights = made.weights(states, padding)
    assert not weights[1, :, 4:].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5))


def test_width_and_heads_must_fit() -> None:
    with pytest.raises(ValueError, match="width 10 is not divisible by 4 attention heads"):
        AttentionalPooler(5, 10, 16, heads=4)


def test_another_query_reads_the_same_and_changes_nothing() -> None:
    made, x, padding = pooler(16, 24), torch.randn(3, 7, 24), torch.zeros(3, 7, dtype=torch.bool)
    padding[1, 4:] = True
    found, read = made.with_query(x, padding, made.queries[2].detach())
    torch.testing.assert_close(found, made(x, padding))
    torch.testing.assert_close(read, found[:, 2])
