"""A model that computes no text padding trains as one that computes all of it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.harness import training
from benchmarks.systems.cmelt.system import SYSTEM
from cmelt_plugin.modules.text import real_tokens

UPDATES = 8


def train(checkpointing: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Losses ``[UPDATES]`` and the weights behind them, dropout included."""
    torch.manual_seed(0)
    model = SYSTEM.build_model(tiny=True, checkpoint_activations=checkpointing)
    criterion, optimiser = (
        SYSTEM.build_criterion(),
        training.build_optimiser(model.parameters(), training.optimiser_settings(SYSTEM.configuration)),
    )
    optimiser.set_lr(1e-3)
    losses = []
    for number in range(UPDATES):
        sample = SYSTEM.synthetic_batch(model, 4, 12, seed=number)
        loss = training.our_losses(model, criterion, sample)["loss"]
        training.training_step(lambda loss=loss: loss, optimiser, "cpu", False)()
        losses.append(loss.detach())
    return torch.stack(losses), [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_of_eight_updates_are_those_with_padding_computed(checkpointing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_tokens, "LEAST_WIDTH", 1)
    packed = []
    pack = real_tokens.RealTokens.pack
    monkeypatch.setattr(real_tokens.RealTokens, "pack", lambda self, x: packed.append(len(self.rows)) or pack(self, x))
    losses, weights = train(checkpointing)
    assert len(set(packed)) > 1
    packed.clear()
    monkeypatch.setattr(real_tokens, "LEAST_PADDING", 2.0)
    expected, references = train(checkpointing)
    assert not packed and losses.unique().numel() == UPDATES
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    for weight, reference in zip(weights, references):
        torch.testing.assert_close(weight, reference, rtol=1e-4, atol=1e-4)
