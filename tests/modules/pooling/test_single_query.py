"""The attention pool: padding is not read, positions are, and the formula by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cmelt_plugin.modules.pooling.single_query import AttentionPool
from tests.modules.padding import assert_padding_is_not_read


def pool() -> AttentionPool:
    torch.manual_seed(0)
    return AttentionPool(8, 5, n_positions=6, heads=2)


def states() -> torch.Tensor:
    return torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(1))


def test_equals_torchs_attention_with_the_class_token_as_its_query() -> None:
    module, x = pool(), states()
    context = torch.cat([module.class_token.expand(3, 1, -1), x + module.positions], dim=1)
    projections = [module.attention.q_proj, module.attention.k_proj, module.attention.v_proj]
    expected, _ = F.multi_head_attention_forward(
        context[:, :1].transpose(0, 1),
        context.transpose(0, 1),
        context.transpose(0, 1),
        8,
        2,
        torch.cat([projection.weight for projection in projections]),
        torch.cat([projection.bias for projection in projections]),
        None,
        None,
        False,
        0.0,
        module.attention.out_proj.weight,
        module.attention.out_proj.bias,
    )
    torch.testing.assert_close(module(x), module.out(expected[0]))


def test_padding_is_not_read_and_changes_nothing() -> None:
    module, x = pool(), states()
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2, [False] + [True] * 5])
    assert_padding_is_not_read(lambda values: module(values, padding), x, padding)
    torch.testing.assert_close(module(x, padding)[1], module(x[1:2, :4])[0])


def test_order_matters() -> None:
    module, x = pool(), states()
    assert not torch.allclose(module(x), module(x.flip(1)), atol=1e-4)


def test_more_steps_than_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="7 steps"):
        pool()(torch.zeros(1, 7, 8))


def test_another_query_reads_the_same_and_changes_nothing() -> None:
    module, x, query = pool(), states(), torch.randn(8)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 3:] = True
    found, read = module.with_query(x, padding, query)
    torch.testing.assert_close(found, module(x, padding))
    _, same = module.with_query(x, padding, module.class_token.detach())
    torch.testing.assert_close(module.out(same), found)
    assert not torch.allclose(read, same, atol=1e-3)
    x[1, 3:] += 5
    torch.testing.assert_close(module.with_query(x, padding, query)[1], read)
