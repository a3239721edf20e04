from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from cmelt_plugin import host
from cmelt_plugin.criterions.text_mlm import TextMLMCriterion, TextMLMCriterionConfig


class Model(nn.Module):
    """The same logits whatever is read: those given."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, **inputs: Any) -> dict[str, torch.Tensor]:
        return {"logits": self.logits}


def sample(target: list[int], **more: Any) -> dict[str, Any]:
    return {
        "id": torch.arange(2),
        "net_input": {"text": torch.zeros(2, 3)},
        "target": torch.tensor(target),
        "ntokens": 6,
        **more,
    }


def criterion() -> TextMLMCriterion:
    return TextMLMCriterion(TextMLMCriterionConfig(), SimpleNamespace(target_dictionary=None))


def test_the_loss_is_a_sum_over_masked_words() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    model = Model(logits)
    loss, words, log = criterion().train()(model, sample([0, 2, 1]))
    expected = -sum(row.log_softmax(0)[target] for row, target in zip(logits, (0, 2, 1)))
    assert words == log["sample_size"] == 3 and (log["nsentences"], log["ntokens"]) == (2, 6)
    assert loss.item() == pytest.approx(expected.item()) == log["loss"].item()
    assert (log["accuracy/sum"].item(), log["accuracy/count"].item()) == (2, 3)
    loss.backward()
    assert model.logits.grad.abs().sum() > 0
    _, _, plain = criterion().eval()(model, sample([0, 2, 1]))
    assert all(type(value) in (int, float) for value in plain.values())


def test_a_repeated_batch_counts_nowhere() -> None:
    loss, words, log = criterion().train()(Model(torch.zeros(3, 3)), sample([0, 2, 1], ignore_grad=True))
    assert words == 0 and all(float(value) == 0 for value in log.values())
    assert loss.item() > 0  # the host multiplies it by zero; the graph must be there on every rank


def test_perplexity_is_that_of_the_mean_over_all_words() -> None:
    """Two batches of different sizes: the mean of their perplexities would be another number."""
    logs = [{"loss": 3.0, "sample_size": 1, "accuracy/sum": 0, "accuracy/count": 1}]
    logs.append({"loss": 3.0, "sample_size": 9, "accuracy/sum": 9, "accuracy/count": 9})
    with host.metrics.aggregate() as meters:
        TextMLMCriterion.reduce_metrics(logs)
    values = meters.get_smoothed_values()
    assert values["perplexity"] == pytest.approx(math.exp(0.6), abs=1e-3)
    assert values["loss"] == pytest.approx(0.6) and values["accuracy"] == pytest.approx(0.9)
    with host.metrics.aggregate() as meters:
        TextMLMCriterion.reduce_metrics([{"loss": 1e5, "sample_size": 1}])
    assert math.isfinite(meters.get_smoothed_values()["perplexity"])


def test_two_ranks_make_one_batch() -> None:
    """The hosts add up losses and sample sizes: gradients of the parts, divided by all words, are those of the whole."""
    torch.manual_seed(0)
    logits, target = torch.randn(5, 4), [1, 0, 3, 3, 2]
    whole = Model(logits.clone())
    loss, words, _ = criterion().train()(whole, sample(target))
    (loss / words).backward()
    parts = [slice(0, 2), slice(2, 5)]
    grads, sizes = [], []
    for part in parts:
        model = Model(logits[part].clone())
        loss, words, _ = criterion().train()(model, sample(target[part]))
        loss.backward()
        grads.append(model.logits.grad)
        sizes.append(words)
    torch.testing.assert_close(torch.cat(grads) / sum(sizes), whole.logits.grad)
