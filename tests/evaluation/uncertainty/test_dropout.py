"""Dropout at work in evaluation, and nothing else of training."""

import torch
from torch import nn

from cmelt_plugin.evaluation.uncertainty.dropout import dropping
from cmelt_plugin.modules.transformer import Attention


def test_only_what_drops_is_in_training_mode() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Dropout(0.0)).eval()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    x = torch.randn(6, 8)
    still = model(x)
    with dropping(model), torch.no_grad():
        first, second = model(x), model(x)
        assert [part.training for part in model] == [False, False, True, False]
    assert not torch.equal(first, second) and ((first == 0) != (second == 0)).any()
    assert torch.equal(model(x), still) and not any(part.training for part in model.modules())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_attention_drops_too() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, dropout=0.5).eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        assert torch.equal(attention(x), attention(x))
        with dropping(attention):
            assert not torch.equal(attention(x), attention(x))
