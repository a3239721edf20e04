"""With released weights the model computes what the released model computes (float32): outputs, losses and gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS, MIMIC_IV_ECG_LEADS, lead_indices
from cmelt_plugin.models.melp.config import MELPConfig
from cmelt_plugin.models.melp.model import MELP
from cmelt_plugin.models.melp.released import CLS, SEP, convert, our_settings

# |a − b| / max(1, max |b|), as the case's own description gives it.
OUTPUTS, GRADIENTS = 1e-4, 1e-3
UNK, FULL_STOP = 1, 18


class Loading:
    loading_checkpoint = True


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    path = real_data / "reference" / "melp_tiny"
    if not path.is_dir():
        pytest.skip(f"no released model at {path}")
    return path


@pytest.fixture(scope="module")
def case(folder) -> dict[str, Tensor]:
    """Inputs, and what the released model makes of them."""
    from safetensors.torch import load_file

    return load_file(folder / "case.safetensors")


@pytest.fixture(scope="module")
def weights(folder) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "weights.safetensors")


def build(weights: dict[str, Tensor], lead_order: Any = LEADS, **changes: Any) -> MELP:
    settings = our_settings(weights, {"ecg_heads": 4, "text_heads": 4})
    # The case's signals are scaled already, and one of its two text layers is frozen.
    given = {"normalisation": "none", "text_free_layers": 1}
    model = MELP.build_model(MELPConfig(**{**settings, **given, **changes}), Loading())
    model.load_state_dict(convert(weights, lead_order), strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def model(weights) -> MELP:
    """Channels are taken as they stand in the case, whose signals are invented."""
    return build(weights)


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = OUTPUTS) -> None:
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max() / expected.abs().max().clamp(min=1)
    assert error < tolerance, f"{float(error):.1e}"


def given_texts(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """As a tokenizer would give them, [CLS] in the place of [BOS], cut to the longest: what is padding must not matter."""
    length = int(mask.sum(1).max())
    text = ids[:, :length].clone()
    text[:, 0] = CLS
    return text, mask[:, :length] == 0


def sentences_of(text: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
    """The release's sentences: what a full stop ends; of each the words it knows, which here happen to be adjacent."""
    rows = []
    for ids in (row[~skip].tolist() for row, skip in zip(text, padding)):
        ends = [place + 1 for place, token in enumerate(ids) if token == FULL_STOP]
        spans = []
        for start, stop in zip([0, *ends], ends):
            known = [place for place in range(start, stop) if ids[place] not in (UNK, CLS, SEP)]
            assert known == list(range(known[0], known[-1] + 1))
            spans.append((known[0], known[-1] + 1))
        rows.append(spans)
    most = max(map(len, rows))
    spans = torch.tensor([[*row, *[(0, 0)] * (most - len(row))] for row in rows])
    return spans, torch.arange(most) >= torch.tensor([len(row) for row in rows])[:, None]


@pytest.fixture(scope="module")
def inputs(case) -> dict[str, Tensor]:
    text, padding = given_texts(case["token_ids"], case["token_mask"])
    spans, sentence_padding = sentences_of(text, padding)
    return {
        "ecg": case["ecg"],
        "text": text,
        "text_padding_mask": padding,
        "sentence_spans": spans,
        "sentence_padding_mask": sentence_padding,
    }


@torch.no_grad()
def test_ecg_tower(case, model) -> None:
    states = model.ecg_tower(case["ecg"])
    assert states.padding_mask is None
    assert_near(states.states, case["ecg_features"])
    assert_near(model.beats(states), case["beats"])
    assert_near(model.beats(states).mean(1), case["ecg_mean_projected"])
    assert_near(model.embed_ecg(case["ecg"]).mean, case["ecg_latent"])
    assert_near(model.ecg_features(case["ecg"]), case["probe_features"])
    assert_near(model.caption_pool(*states), case["caption_tokens"])


@torch.no_grad()
def test_text_tower(case, model, inputs) -> None:
    text, padding = inputs["text"], inputs["text_padding_mask"]
    sequence = model.layout.sequence(text, padding)
    real = case["bert_mask"] == 1
    assert torch.equal(sequence.padding_mask, ~real) and torch.equal(sequence.ids[real], case["bert_ids"][real])
    assert_near(model._read(text, padding).states[real], case["text_states"][real])
    assert_near(model.embed_text(text, padding).mean, case["text_latent"])


@torch.no_grad()
def test_sentences_and_captioner(case, model, inputs) -> None:
    out = model(**inputs)
    real = ~inputs["sentence_padding_mask"]
    assert torch.equal(real.sum(1), case["n_sentences"])
    read = model._read(inputs["text"], inputs["text_padding_mask"])
    means = model.layout.span_means(read.states, inputs["sentence_spans"], read.sequence)
    assert_near(means[real], case["sentence_means"][real])
    assert_near(out["sentences"][real], case["sentences"][real])
    labelled = case["labels"] != 0
    assert torch.equal(out["caption_labels"] >= 0, labelled)
    assert torch.equal(out["caption_labels"][labelled], case["labels"][labelled])
    assert_near(out["caption_logits"][labelled], case["logits"][labelled])


@torch.no_grad()
def test_zero_shot_scores(case, model, folder) -> None:
    prompts = model.embed_text(*given_texts(case["prompt_ids"], case["prompt_mask"]))
    assert_near(prompts.mean, case["prompt_latents"])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    order = [list(config["prompts"]).index(name) for name in config["zeroshot_classes"]]
    scores = model.similarity(model.embed_ecg(case["ecg"]), prompts.select(torch.tensor(order)))
    assert_near(scores, case["zeroshot_scores"])


def test_losses_and_gradients(case, weights, folder, inputs) -> None:
    """Conversion is differentiable, so that gradients come out under the names and in the shapes of the release's."""
    from cmelt_plugin.losses.beats import gloria_similarity, local_loss
    from cmelt_plugin.losses.caption import caption_loss
    from cmelt_plugin.losses.clip import clip_loss

    theirs = {name: w.clone().requires_grad_(w.is_floating_point() and "running" not in name) for name, w in weights.items()}
    model = build(weights)
    state = convert(theirs, LEADS)
    parameters = dict(model.named_parameters())
    state = {name: tensor if parameters[name].requires_grad else tensor.detach() for name, tensor in state.items()}
    out = torch.func.functional_call(model, state, (), inputs)
    for name in ("ecg_embedding", "text_embedding"):
        out[name].retain_grad()
    labels = 2 * torch.eye(len(out["beats"])) - 1
    ecg, text, scale = out["ecg_embedding"], out["text_embedding"], out["logit_scale"]
    assert_near(scale, case["logit_scale_exp"])
    assert_near(scale * ecg @ text.T, case["clip_logits"])
    clip = clip_loss(ecg, text, ecg, text, labels, scale, "mean") / len(ecg)
    found = caption_loss(out["caption_logits"], out["caption_labels"])
    caption = found.total / found.tokens
    beats, sentences, padding = out["beats"], out["sentences"], out["sentence_padding_mask"]
    assert_near(gloria_similarity(beats, sentences, padding), case["local_similarity"])
    local = local_loss(gloria_similarity, beats, sentences, padding, beats, sentences, padding, labels) / len(ecg)
    total = clip + 2 * caption + 0.2 * local
    for name, value in {"clip": clip, "caption": caption, "local": local, "total": total}.items():
        assert_near(value, case[f"{name}_loss"])

    real = ~inputs["sentence_padding_mask"]
    for_beats, for_sentences = torch.autograd.grad(local, [beats, sentences], retain_graph=True)
    assert_near(for_beats, case["grad.local_wrt_beats"], GRADIENTS)
    assert_near(0.2 * for_beats, case["grad.total_wrt_beats"], GRADIENTS)  # theirs are a copy, of which only this loss knows
    assert_near(for_sentences[real], case["grad.local_wrt_sentences"][real], GRADIENTS)
    assert_near(0.2 * for_sentences[real], case["grad.total_wrt_sentences"][real], GRADIENTS)
    total.backward()
    for name, ours in (("ecg_latent", ecg), ("text_latent", text)):
        expected, unit = case[f"grad.total_wrt_{name}"], case[name]
        # Ours are normalised once more in the loss, which takes away what changes length alone.
        assert_near(ours.grad, expected - (expected * unit).sum(1, keepdim=True) * unit, GRADIENTS)
    order = json.loads((folder / "config.json").read_text(encoding="utf-8"))["grad_norm_names"]
    gradients = {name: torch.zeros_like(theirs[name]) if theirs[name].grad is None else theirs[name].grad for name in order}
    assert_near(torch.stack([gradients[name].norm() for name in order]), case["grad_norms"], GRADIENTS)
    whole = [name for name in order if f"grad.{name}" in case]
    assert len(whole) == 11
    for name in whole:
        assert_near(gradients[name], case[f"grad.{name}"], GRADIENTS)


def test_leads_are_permuted_by_name(case, weights) -> None:
    """The same recording, once in the order of MIMIC-IV-ECG to the release and once in ours to our model."""
    order = lead_indices(MIMIC_IV_ECG_LEADS)
    model = build(weights, MIMIC_IV_ECG_LEADS)
    with torch.no_grad():
        assert_near(model.embed_ecg(case["ecg"][:, order]).mean, case["ecg_latent"])
        assert (model.embed_ecg(case["ecg"]).mean - case["ecg_latent"]).abs().max() > 1e-3


def test_the_dynamic_layout_reads_the_same_words(case, weights, model, inputs) -> None:
    """D-M16: without padding between words and summary the words' states stay; only the summary's position is another."""
    dynamic = build(weights, text_layout="dynamic")
    with torch.no_grad():
        expected, found = model(**inputs), dynamic(**inputs)
    length = found["caption_labels"].shape[1]
    assert length == inputs["text"].shape[1] - 1
    labelled = found["caption_labels"] >= 0
    assert torch.equal(found["caption_labels"], expected["caption_labels"][:, :length])
    assert_near(found["caption_logits"][labelled], expected["caption_logits"][:, :length][labelled])
    torch.testing.assert_close(found["sentences"], expected["sentences"], rtol=1e-4, atol=1e-5)
    few = {"ecg": inputs["ecg"][:2], "text": inputs["text"][:2, :9], "text_padding_mask": inputs["text_padding_mask"][:2, :9]}
    with torch.no_grad():
        shapes = [one(**few, objectives=("caption",))["caption_logits"].shape[1] for one in (model, dynamic)]
    assert shapes == [126, 8]
