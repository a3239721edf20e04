"""The naive MERL is the same mathematics: losses and gradients equal ours on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.cases.step import TOLERANCE, check_losses
from benchmarks.harness import training
from benchmarks.systems.merl import naive as merl
from benchmarks.systems.merl.naive import Mode, NaiveMERL
from benchmarks.systems.merl.system import MODES, SYSTEM

LOSSES = {"cma", "uma", "loss"}


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any, dict[str, Any]]:
    """A tiny model with weights large enough for every part to matter, the criterion, and a batch."""
    model = SYSTEM.build_model(tiny=True, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval(), SYSTEM.build_criterion(), SYSTEM.synthetic_batch(model, 6, 20, seed=3)


@pytest.mark.parametrize("mode", [Mode(), *MODES.values()], ids=str)
def test_losses_and_gradients_equal_ours(tiny, mode: Mode) -> None:
    model, criterion, sample = tiny
    found = []
    naive = NaiveMERL(model, mode._replace(dropout=False))
    for way in (lambda: training.our_losses(model, criterion, sample), lambda: naive.losses(sample)):
        model.zero_grad()
        losses = way()
        losses["loss"].backward()
        gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
        found.append((losses, gradients))
    model.zero_grad()
    (ours, gradients), (theirs, others) = found
    assert set(ours) == set(theirs) == LOSSES and set(gradients) == set(others)
    assert not any(name.startswith("text_encoder") for name in gradients)
    for name, value in ours.items():
        assert theirs[name].item() == pytest.approx(value.item(), abs=TOLERANCE), name
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=2e-5, rtol=2e-3, msg=name)


def test_the_check_notices_another_loss(tiny, monkeypatch) -> None:
    model, criterion, sample = tiny
    correct = merl.contrast
    monkeypatch.setattr(merl, "contrast", lambda *inputs: correct(*inputs) + 2e-3)
    with pytest.raises(AssertionError, match="loss cma"):
        check_losses(SYSTEM, model, criterion, sample)


def test_the_frozen_encoder_reads_256_tokens_with_dropout_and_without_gradient(tiny, monkeypatch) -> None:
    model, _, sample = tiny
    seen = []
    correct = merl.encode_texts

    def watched(*inputs: Any) -> torch.Tensor:
        seen.append(correct(*inputs))
        return seen[-1]

    monkeypatch.setattr(merl, "encode_texts", watched)
    for _ in range(2):
        NaiveMERL(model).losses(sample)
    assert [states.shape[:2] for states in seen] == [(6, 256)] * 2 and not seen[0].requires_grad
    assert not torch.equal(*seen)


def test_other_models_are_refused() -> None:
    for changes in ({"text_free_layers": 1}, {"text_pool": "mean"}):
        with pytest.raises(ValueError, match="frozen BERT"):
            NaiveMERL(SYSTEM.build_model(tiny=True, **changes))
