"""From token states to one vector."""

from __future__ import annotations

import pytest
import torch

from cmelt_plugin.modules.pooling.tokens import Pooler, masked_mean
from tests.modules.padding import assert_padding_is_not_read

PADDING = torch.tensor([[False, False, False], [False, True, True]])


def test_mean_over_real_tokens() -> None:
    states = torch.tensor([[[1.0], [2], [6]], [[5.0], [100], [100]]])
    assert masked_mean(states, PADDING).tolist() == [[3.0], [5.0]]
    assert masked_mean(states, None).tolist() == [[3.0], [pytest.approx(205 / 3)]]


def test_mean_of_nothing_is_zero() -> None:
    assert masked_mean(torch.ones(1, 2, 1), torch.ones(1, 2, dtype=torch.bool)).tolist() == [[0.0]]


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_pooler_is_pool_dense_tanh(pool: str) -> None:
    pooler, states = Pooler(4, 3, pool), torch.randn(2, 3, 4)
    pooled = states[:, 0] if pool == "first" else masked_mean(states, PADDING)
    expected = torch.tanh(pooled @ pooler.dense.weight.T + pooler.dense.bias)
    torch.testing.assert_close(pooler(states, PADDING), expected)


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_pooler_does_not_read_padding(pool: str) -> None:
    pooler = Pooler(4, 3, pool)
    assert_padding_is_not_read(lambda states: pooler(states, PADDING).unsqueeze(1), torch.randn(2, 3, 4), PADDING)


def test_unknown_pool_raises() -> None:
    with pytest.raises(ValueError, match="'max'"):
        Pooler(4, 3, "max")
