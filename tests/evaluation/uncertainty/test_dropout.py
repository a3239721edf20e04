"""Dropout at work in evaluation, and nothing else of training."""

from types import SimpleNamespace

import torch
from torch import nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.evaluation.embedding.features import FEATURES
from cmelt_plugin.evaluation.uncertainty.dropout import dropping
from cmelt_plugin.evaluation.uncertainty.scorers import ClassifierScorer
from cmelt_plugin.models.classifier.model import Classifier
from cmelt_plugin.modules.transformer import Attention
from tests.models.classifier_ranks import tiny_config


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


def test_the_head_of_a_classifier_drops_too() -> None:
    torch.manual_seed(0)
    model = Classifier.build_model(tiny_config(head_dropout=0.5)).eval()
    scorer = ClassifierScorer(SimpleNamespace(model=model, class_names=["a", "b", "c"], leads=LEADS), None)
    ecg = torch.randn(2, 12, 5000)
    with torch.no_grad():
        still = scorer.encode(ecg, None)[FEATURES]
        assert torch.equal(still, model.ecg_features(ecg, None, model.cfg.pool))
        with dropping(model):
            assert ((scorer.encode(ecg, None)[FEATURES] == 0) & (still != 0)).any()
