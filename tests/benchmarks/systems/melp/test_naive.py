"""The naive MELP is the same mathematics: losses and gradients equal ours on the same weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases import step
from benchmarks.cases.step import TOLERANCE, check_losses
from benchmarks.harness import training
from benchmarks.harness.options import Options
from benchmarks.systems.melp import naive as melp
from benchmarks.systems.melp.beats import gloria_similarity, sentence_means
from benchmarks.systems.melp.language_head import LanguageHead
from benchmarks.systems.melp.naive import Mode, NaiveMELP
from benchmarks.systems.melp.system import MODES, SYSTEM

LOSSES = {"clip", "caption", "local", "loss"}


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


@pytest.mark.parametrize("mode", [Mode(), *MODES.values(), Mode(True, False, False, False, False)], ids=str)
def test_losses_equal_ours(tiny, mode: Mode) -> None:
    model, criterion, sample = tiny
    ours = training.our_losses(model, criterion, sample)
    naive = NaiveMELP(model, mode._replace(dropout=False)).losses(sample)
    assert set(naive) == set(ours) == LOSSES
    for name, value in ours.items():
        assert naive[name].item() == pytest.approx(value.item(), abs=TOLERANCE), name


def test_gradients_equal_ours_and_the_releases_embeddings_train(tiny) -> None:
    model, criterion, sample = tiny
    gradients = []
    ways = (lambda: training.our_losses(model, criterion, sample), lambda: NaiveMELP(model, Mode(dropout=False)).losses(sample))
    for way in ways:
        model.zero_grad()
        way()["loss"].backward()
        gradients.append({name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None})
    model.zero_grad()
    ours, naive = gradients
    embeddings = {name for name, _ in model.named_parameters() if ".embeddings." in name}
    assert set(naive) - set(ours) == embeddings and set(ours) <= set(naive)
    for name, gradient in ours.items():
        torch.testing.assert_close(naive[name], gradient, atol=2e-5, rtol=2e-3, msg=name)


def test_gradients_of_the_embeddings_are_those_of_a_model_that_trains_them(tiny) -> None:
    model, criterion, sample = tiny
    training_them = training.twin(model, text_free_embeddings=True).eval()
    found = []
    ways = (lambda: training.our_losses(training_them, criterion, sample), NaiveMELP(model, Mode(dropout=False)).losses)
    for way in (ways[0], lambda: ways[1](sample)):
        model.zero_grad()
        way()["loss"].backward()
        found.append(model.text_encoder.model.embeddings.word_embeddings.weight.grad.clone())
    model.zero_grad()
    torch.testing.assert_close(found[1], found[0], atol=2e-5, rtol=2e-3)


def test_the_check_notices_another_loss(tiny, monkeypatch) -> None:
    model, criterion, sample = tiny
    correct = NaiveMELP._local
    monkeypatch.setattr(NaiveMELP, "_local", lambda *arguments: correct(*arguments) + 2e-3)
    with pytest.raises(AssertionError, match="loss local"):
        check_losses(SYSTEM, model, criterion, sample)


def test_dropout_acts_in_the_naive_model_in_frozen_layers_too(tiny) -> None:
    model, _, sample = tiny
    with torch.no_grad():
        assert len({float(NaiveMELP(model).losses(sample)["loss"]) for _ in range(2)}) == 2
        frozen = dataclasses.replace(model.cfg, text_free_layers=0, dropout=0.0, attention_dropout=0.0)
        still = training.twin(model, **dataclasses.asdict(frozen))
        assert len({float(NaiveMELP(still).losses(sample)["loss"]) for _ in range(2)}) == 2


def test_the_naive_text_tower_reads_128_tokens_and_all_their_words(tiny, monkeypatch) -> None:
    model, _, sample = tiny
    shapes = []
    forward = LanguageHead.forward
    monkeypatch.setattr(LanguageHead, "forward", lambda *inputs: shapes.append(forward(*inputs).shape))
    captions = []
    correct = melp.caption_logits
    monkeypatch.setattr(melp, "caption_logits", lambda *inputs: captions.append(correct(*inputs)) or captions[-1])
    NaiveMELP(model).losses(sample)
    assert shapes == [(6, 128, model.vocab_size)] and captions[0].shape == (6, 126, model.vocab_size)
    NaiveMELP(model, Mode(fixed_length=False, language_head=False)).losses(sample)
    assert len(shapes) == 1 and captions[1].shape == (6, 19, model.vocab_size)


def test_the_other_form_runs_beside_the_releases(tiny) -> None:
    model, criterion, sample = tiny
    steps = step.contestants(SYSTEM, model, criterion, sample, {"ours": None, "naive": None}, Options(quick=True))
    assert list(steps)[:4] == ["naive", "ours", "ours, beat", "ours, checkpointing"]
    assert set(steps) - set(list(steps)[:4]) == {f"naive, {variant}" for variant in MODES}
    assert (criterion.cfg.local, criterion.cfg.duplicates) == ("gloria", "negative")
    assert SYSTEM.build_criterion("beat").cfg == type(criterion.cfg)()


def test_other_models_are_refused() -> None:
    for changes in ({"text_layout": "released"}, {"ecg_tower": "resnet18"}, {"normalisation": "min_max"}):
        with pytest.raises(ValueError, match="wav2vec"):
            NaiveMELP(SYSTEM.build_model(tiny=True, **changes))


def test_sentences_of_a_batch_cover_its_words() -> None:
    model = SYSTEM.build_model(tiny=True)
    sample = SYSTEM.synthetic_batch(model, 6, 40)
    inputs = sample["net_input"]
    lengths = (~inputs["text_padding_mask"]).sum(dim=1)
    assert sample["max_sentences"] == inputs["sentence_spans"].shape[1] > 2
    for ids, n, spans, padding in zip(inputs["text"], lengths, inputs["sentence_spans"], inputs["sentence_padding_mask"]):
        first, end = spans[~padding].T
        assert first[0] == 1 and end[-1] == n - 1 and torch.equal(first[1:], end[:-1]) and (end > first).all()
        assert int(ids[0]) == model.layout.tokens.summary and int(ids[n - 1]) == model.layout.tokens.end


def test_sentence_means_by_hand() -> None:
    states = torch.arange(24.0).view(2, 6, 2)
    ids = torch.tensor([[1, 5, 6, 0, 7, 2], [1, 5, 2, 0, 0, 0]])
    spans = torch.tensor([[[1, 3], [3, 5], [3, 4]], [[1, 2], [0, 0], [0, 0]]])
    padding = torch.tensor([[False, False, False], [False, True, True]])
    first, second = sentence_means(states, ids, spans, padding, 0)
    assert first.tolist() == [[3.0, 4.0], [8.0, 9.0]]  # a sentence without words is none
    assert second.tolist() == [[14.0, 15.0]]


def test_gloria_similarity_is_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    beats = torch.randn(2, 3, 4, generator=generator)
    texts = [torch.randn(n, 4, generator=generator) for n in (1, 2, 3)]
    found = gloria_similarity(beats, texts)
    for a, values in enumerate(beats):
        for b, sentences in enumerate(texts):
            share = (values @ sentences.T).softmax(dim=1)
            total = torch.zeros(())
            for number, sentence in enumerate(sentences):
                weights = (4 * share[:, number]).softmax(dim=0)
                total += (5 * F.cosine_similarity(weights @ values, sentence, dim=0)).exp()
            assert float(found[a, b]) == pytest.approx(float(10 * total.log()), rel=1e-5)


def test_the_head_that_nobody_reads_is_berts() -> None:
    head, table = LanguageHead(8, 20), nn.Embedding(20, 8).weight
    logits = head(torch.randn(2, 3, 8), table)
    assert logits.shape == (2, 3, 20) and logits.requires_grad
