"""The naive model is the same mathematics: losses and gradients equal ours on the same weights."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.cases.step import TOLERANCE, check_losses
from benchmarks.harness import training
from benchmarks.harness.waits import WaitCounter
from benchmarks.naive import ecg_encoder
from benchmarks.naive.attention import Mode, attend, hide
from benchmarks.naive.text_encoder import gelu, position_buckets
from benchmarks.systems.cmelt.naive import NaiveCMELT
from benchmarks.systems.cmelt.system import MODES, SYSTEM

LOSSES = {"mlm", "mem", "etm", "siglep", "loss"}


@pytest.fixture(scope="module")
def tiny():
    """A tiny model with weights large enough for every part to matter, the criterion, and a batch."""
    model = SYSTEM.build_model(tiny=True, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval(), SYSTEM.build_criterion(), SYSTEM.synthetic_batch(model, 6, 20, seed=3)


@pytest.mark.parametrize("mode", [Mode(), *MODES.values(), Mode(True, False, False)], ids=str)
def test_losses_equal_ours(tiny, mode: Mode) -> None:
    model, criterion, sample = tiny
    ours = training.our_losses(model, criterion, sample)
    naive = NaiveCMELT(model, mode._replace(dropout=False)).losses(sample)
    assert set(naive) == set(ours) == LOSSES
    for name, value in ours.items():
        assert naive[name].item() == pytest.approx(value.item(), abs=TOLERANCE), name


@pytest.mark.parametrize("changes", [{"normalise_embeddings": False, "text_pool": "first"}, {"mem_layer": -1}])
def test_losses_equal_ours_in_other_configurations(changes) -> None:
    model = SYSTEM.build_model(tiny=True, **changes)
    assert set(check_losses(SYSTEM, model, SYSTEM.build_criterion(), SYSTEM.synthetic_batch(model, 4, 9))) == LOSSES


def test_gradients_equal_ours(tiny) -> None:
    model, criterion, sample = tiny
    gradients = []
    for loss in (training.our_losses(model, criterion, sample), NaiveCMELT(model, Mode(dropout=False)).losses(sample)):
        model.zero_grad()
        loss["loss"].backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    model.zero_grad()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=2e-5, rtol=2e-3, msg=name)


def test_the_check_notices_another_loss(tiny, monkeypatch) -> None:
    model, criterion, sample = tiny
    correct = NaiveCMELT._siglep
    monkeypatch.setattr(NaiveCMELT, "_siglep", lambda *arguments: correct(*arguments) + 2e-4)
    with pytest.raises(AssertionError, match="loss siglep"):
        check_losses(SYSTEM, model, criterion, sample)


def test_dropout_acts_in_the_naive_model_as_in_ours(tiny) -> None:
    model, _, sample = tiny
    with torch.no_grad():
        values = {float(NaiveCMELT(model).losses(sample)["loss"]) for _ in range(2)}
    assert len(values) == 2


def test_other_text_encoders_are_refused(tiny) -> None:
    model = SYSTEM.build_model(tiny=True)
    model.cfg.text_encoder_config = json.dumps({"model_type": "bert"})
    with pytest.raises(ValueError, match="T5"):
        NaiveCMELT(model)


def test_eager_attention_is_the_formula() -> None:
    query, key, value = torch.randn(3, 2, 2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind(0)
    padding = torch.tensor([[False, False, True, False, True], [False] * 5])
    expected = torch.empty_like(query)
    for b in range(2):
        for h in range(2):
            for i in range(5):
                weights = torch.stack([(query[b, h, i] @ key[b, h, j] * 0.5).exp() * ~padding[b, j] for j in range(5)])
                expected[b, h, i] = (weights / weights.sum()) @ value[b, h]
    for eager in (True, False):
        torch.testing.assert_close(attend(query, key, value, hide(padding, query.dtype), 0.0, 0.5, eager), expected)


def test_position_buckets_by_hand() -> None:
    buckets = position_buckets(200, 32, 128, torch.device("cpu"))
    assert buckets[0, 0] == 0 and buckets[7, 0] == 7 and buckets[0, 7] == 16 + 7  # one distance each below 8
    assert buckets[8, 0] == buckets[11, 0] == 8 and buckets[12, 0] == 9  # 8 · 16^(1/8) = 11.3
    assert buckets[128, 0] == buckets[199, 0] == 15 and buckets[0, 199] == 31  # all beyond 128 together


def test_a_twin_holds_the_same_parameters() -> None:
    model = SYSTEM.build_model(tiny=True)
    other = training.twin(model, mem_ratio=0.5)
    own = dict(model.named_parameters())
    assert all(parameter is own[name] for name, parameter in other.named_parameters())
    assert other.cfg.mem_ratio == 0.5 and model.cfg.mem_ratio == 0.75


def test_the_naive_encoder_runs_over_kept_tokens_alone(tiny, monkeypatch) -> None:
    model, _, sample = tiny
    lengths = []
    layer = ecg_encoder.transformer_layer

    def watched(weights, x, *arguments, **options):
        lengths.append(x.shape[1])
        return layer(weights, x, *arguments, **options)

    monkeypatch.setattr(ecg_encoder, "transformer_layer", watched)
    NaiveCMELT(model).losses(sample)
    assert lengths == [1 + int(model.n_ecg_tokens * (1 - model.cfg.mem_ratio))] * model.cfg.encoder_layers


def test_the_naive_model_reads_each_logged_number_from_the_device_by_itself(tiny) -> None:
    model, criterion, sample = tiny
    naive = NaiveCMELT(model.eval(), Mode(dropout=False))
    with torch.no_grad():
        losses = naive.losses(sample)
        _, rows, log = criterion(model, sample)
        waits = WaitCounter.count(lambda: naive.losses(sample))
    assert {name: naive.log[name] for name in losses} == {name: value.item() for name, value in losses.items()}
    assert naive.log["mlm_correct"] == float(log["mlm_accuracy/sum"]) and naive.log["mlm_count"] == len(sample["mlm_target"])
    assert naive.log["etm_correct"] == float(log["etm_accuracy/sum"]) and naive.log["etm_count"] == rows
    # Eight numbers, the choice of masked words for their accuracy, and writing the targets into their places.
    assert waits == 10


def test_gelu_written_out_is_the_one_operation() -> None:
    values = torch.linspace(-6, 6, 101)
    torch.testing.assert_close(gelu(values), torch.nn.functional.gelu(values, approximate="tanh"))
