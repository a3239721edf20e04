"""MERL's model: outputs, gradients, padding, the frozen text tower and its cached features."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny import PAD, write_manifest
from tiny_merl import ENCODERS, batch, tiny_merl
from torch import Tensor

from benchmarks.harness.waits import WaitCounter
from cmelt_plugin.data.text.padding import pad
from cmelt_plugin.data.text.report_embeddings import load_report_embeddings, make_report_embeddings
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses import clip_loss
from cmelt_plugin.models.base import ECGTextModel
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.models.classifier.model import Classifier
from cmelt_plugin.models.files.checkpoint import load_model
from cmelt_plugin.modules.ecg.normalisation import NORMALISATIONS


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request) -> str:
    torch.manual_seed(0)
    return request.param


def both_losses(out: dict[str, Tensor], rows: int) -> Tensor:
    labels = 2 * torch.eye(rows) - 1
    sides = [out[name] for name in ("ecg_embedding", "text_embedding", "view1", "view2")]
    return clip_loss(*sides[:2], *sides[:2], labels, out["logit_scale"]) + clip_loss(
        *sides[2:], *sides[2:], labels, out["uma_scale"]
    )


def test_outputs(encoder: str) -> None:
    model, sample = tiny_merl(encoder), batch()
    out = model(**sample)
    assert set(out) == {"ecg_embedding", "text_embedding", "view1", "view2", "logit_scale", "uma_scale"}
    for name in ("ecg_embedding", "text_embedding"):
        assert out[name].shape == (4, 16)
        torch.testing.assert_close(out[name].norm(dim=1), torch.ones(4))
    assert out["view1"].shape == (4, 16) and not torch.allclose(out["view1"], out["view2"])
    assert model.ecg_features(sample["ecg"]).shape == (4, model.ecg_tower.encoder.dim)
    assert isinstance(model, ECGTextModel)
    with pytest.raises(ValueError, match="mean"):
        model.ecg_features(sample["ecg"], pool="cls")


def test_scores_are_cosines(encoder: str) -> None:
    model, sample = tiny_merl(encoder).eval(), batch()
    ecg, text = model.embed_ecg(sample["ecg"]), model.embed_text(sample["text"], sample["text_padding_mask"])
    out = model(**sample)
    torch.testing.assert_close(ecg.mean, out["ecg_embedding"])
    torch.testing.assert_close(text.mean, out["text_embedding"])
    expected = torch.nn.functional.cosine_similarity(ecg.mean[:, None], text.mean[None], dim=-1)
    torch.testing.assert_close(model.similarity(ecg, text), expected)


def test_objectives_ask_for_no_more_than_they_need(encoder: str) -> None:
    model, sample = tiny_merl(encoder), batch()
    assert set(model(sample["ecg"], objectives=["uma"])) == {"view1", "view2", "uma_scale"}
    assert set(model(**sample, objectives=["cma"])) == {"ecg_embedding", "text_embedding", "logit_scale"}
    with pytest.raises(ValueError, match="neither text nor text_features"):
        model(sample["ecg"])


@pytest.mark.parametrize("free_layers", [0, 1, -1])
def test_every_parameter_that_trains_gets_a_gradient(encoder: str, free_layers: int) -> None:
    model = tiny_merl(encoder, text_free_layers=free_layers, text_pool="pooler")
    both_losses(model(**batch()), 4).backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not idle
    assert not [
        name for name, parameter in model.named_parameters() if not parameter.requires_grad and parameter.grad is not None
    ]


def test_losses_fall(encoder: str) -> None:
    model, sample = tiny_merl(encoder), batch()
    optimizer = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=3e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(both_losses(model(**sample), 4))
        losses[-1].backward()
        optimizer.step()
    assert all(loss.isfinite() for loss in losses) and losses[-1] < 0.7 * losses[0]


# -- Padding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_padded_record_is_the_record_cut_to_its_samples(encoder: str, normalisation: str) -> None:
    model, ecg = tiny_merl(encoder, normalisation=normalisation).eval(), batch()["ecg"]
    padded, n_samples = ecg.clone(), torch.tensor([800, 800, 350, 350])
    padded[2:, :, 350:] = float("nan")
    for function in (lambda *args: model.embed_ecg(*args).mean, model.ecg_features):
        found, whole, cropped = function(padded, n_samples), function(ecg[:2]), function(ecg[2:, :, :350])
        torch.testing.assert_close(found, torch.cat([whole, cropped]), rtol=1e-5, atol=1e-5)


def test_padding_of_texts_changes_nothing(encoder: str) -> None:
    sample = batch()
    for pool in ("first", "mean", "pooler"):
        model = tiny_merl(encoder, text_pool=pool).eval()
        expected = model.embed_text(sample["text"], sample["text_padding_mask"]).mean
        longer = torch.nn.functional.pad(sample["text"], (0, 3), value=5)
        padding = torch.nn.functional.pad(sample["text_padding_mask"], (0, 3), value=True)
        torch.testing.assert_close(model.embed_text(longer, padding).mean, expected)


@pytest.mark.parametrize("normalisation", ["none", "centred"])
def test_a_masked_lead_is_not_read(encoder: str, normalisation: str) -> None:
    model, sample = tiny_merl(encoder, normalisation=normalisation).eval(), batch()
    mask = torch.zeros(4, 12, dtype=torch.bool)
    mask[:, 3] = True
    other = sample["ecg"].clone()
    other[:, 3] = 7.0
    expected = model(**sample, lead_mask=mask)["ecg_embedding"]
    assert torch.equal(model(**{**sample, "ecg": other}, lead_mask=mask)["ecg_embedding"], expected)
    assert not torch.allclose(model(**sample)["ecg_embedding"], expected, atol=1e-4)


# -- The text tower ----------------------------------------------------------------------------------------------------


def test_a_frozen_text_tower_runs_without_dropout_and_gradient() -> None:
    """D-R6: the release freezes it by accident, leaves its dropout on, and calls six of its layers free."""
    model, sample = tiny_merl().train(), batch()
    text = sample["text"], sample["text_padding_mask"]
    assert model.training and not any(module.training for module in model.text_encoder.model.modules())
    first, second = model.text_features(*text), model.text_features(*text)
    assert torch.equal(first, second) and not first.requires_grad
    assert torch.equal(first, model.eval().text_features(*text))
    assert model.text_is_cacheable


def test_text_towers_that_train_do() -> None:
    """D-R6: what the configuration calls free trains; the layers below it keep still."""
    text = batch()["text"], batch()["text_padding_mask"]
    model = tiny_merl(text_free_layers=1).train()
    layers = model.text_encoder.model.encoder.layer
    assert layers[1].training and not layers[0].training and not model.text_encoder.model.embeddings.training
    assert [any(p.requires_grad for p in part.parameters()) for part in (*layers, model.text_encoder.model.embeddings)] == [
        False,
        True,
        False,
    ]
    assert not model.text_is_cacheable and model.text_features(*text).requires_grad
    assert not torch.equal(model.text_features(*text), model.text_features(*text))
    everything = tiny_merl(text_free_layers=-1).train()
    assert all(module.training for module in everything.modules()) and not everything.text_is_cacheable
    with pytest.raises(DataError, match="3 free layers"):
        tiny_merl(text_free_layers=3)


def test_how_a_text_is_summed_up_is_chosen() -> None:
    """D-R11: the release takes BERT's pooler; MedCPT is meant to be read at the last state of [CLS], our default."""
    text = batch()["text"], batch()["text_padding_mask"]
    model = tiny_merl(text_pool="pooler").eval()
    states = model.text_encoder(*text)
    torch.testing.assert_close(model.text_features(*text), model.text_encoder.model.pooler.dense(states[:, 0]).tanh())
    assert tiny_merl().cfg.text_pool == "first"
    assert torch.equal(model.text_encoder.pool(*text, "first"), states[:, 0])
    keep = ~text[1][..., None]
    torch.testing.assert_close(model.text_encoder.pool(*text, "mean"), (states * keep).sum(1) / keep.sum(1))
    with pytest.raises(ValueError, match="first, mean, pooler"):
        model.text_encoder.pool(*text, "last")


def test_cached_features_give_what_the_texts_give(encoder: str) -> None:
    model, sample = tiny_merl(encoder, view_dropout=0.0).train(), batch()
    features = model.text_features(sample["text"], sample["text_padding_mask"])
    expected, found = model(**sample), model(sample["ecg"], text_features=features)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    gradients = []
    for out in (expected, found):
        model.zero_grad()
        both_losses(out, 4).backward(retain_graph=True)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_cached_features_are_told_apart_by_weights_and_pooling() -> None:
    model, same, pooled = tiny_merl(), tiny_merl(), tiny_merl(text_pool="mean")
    same.text_encoder.load_state_dict(model.text_encoder.state_dict())
    pooled.text_encoder.load_state_dict(model.text_encoder.state_dict())
    assert same.text_fingerprint() == model.text_fingerprint() != pooled.text_fingerprint()
    assert tiny_merl().text_fingerprint() != model.text_fingerprint()


def test_vectors_on_disk_are_those_the_model_computes(tmp_path) -> None:
    """A manifest directory's reports through the frozen tower once, and back as the features of a batch."""
    directory = write_manifest(tmp_path, n_reports=6)
    tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")
    model = tiny_merl().eval()

    def embed(texts: Sequence[np.ndarray]) -> np.ndarray:
        return model.text_features(*map(torch.from_numpy, pad(texts, PAD))).numpy()

    make_report_embeddings(directory, tokens, embed, model.text_fingerprint(), 256, batch_size=4)
    vectors = load_report_embeddings(directory, tokens, model.text_fingerprint(), 256)
    reports = np.array([5, 0, 0, 3])
    cached = model.embed_text_features(torch.from_numpy(vectors.rows(reports))).mean
    direct = model.embed_text(*map(torch.from_numpy, pad([tokens[int(report)] for report in reports], PAD))).mean
    torch.testing.assert_close(cached, direct)
    with torch.no_grad():
        model.text_encoder.model.embeddings.word_embeddings.weight[5] += 1
    with pytest.raises(DataError, match="no such file"):
        load_report_embeddings(directory, tokens, model.text_fingerprint(), 256)


# -- Evaluation, precision, settings -----------------------------------------------------------------------------------


def test_features_of_a_frozen_model_change_nothing_in_it(encoder: str) -> None:
    """D-R3: in training mode, batch statistics of the release's "frozen" ResNet follow the downstream data."""
    model = tiny_merl(encoder).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        together = model.ecg_features(batch()["ecg"])
        alone = torch.cat([model.ecg_features(row[None]) for row in batch()["ecg"]])
        model.embed_ecg(batch()["ecg"])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)  # no record sees the others of its batch


def test_our_default_reads_millivolts(encoder: str) -> None:
    """D-R10: scaling to 0..1 loses voltages, and the release rounds to a thousandth of the range afterwards."""
    model, ecg = tiny_merl(encoder).eval(), batch()["ecg"]
    assert model.cfg.normalisation == "none"
    assert not torch.allclose(model.embed_ecg(ecg).mean, model.embed_ecg(3 * ecg).mean, atol=1e-4)
    scaled = tiny_merl(encoder, normalisation="min_max").eval()
    torch.testing.assert_close(scaled.embed_ecg(ecg).mean, scaled.embed_ecg(3 * ecg).mean, rtol=1e-4, atol=1e-5)
    spike = ecg.clone()
    spike[:, 0, 0] = 30.0
    spike_and_more = spike.clone()
    spike_and_more[:, 1, 100:200] += 0.005  # 5 µV: less than a thousandth of the range
    assert not torch.equal(scaled.ecg_features(spike), scaled.ecg_features(spike_and_more))


def test_centred_leads_lose_their_offsets_and_keep_their_amplitudes(encoder: str) -> None:
    model, sample = tiny_merl(encoder, normalisation="centred").eval(), batch()
    assert model.signal.normalisation == "centred"
    ecg, n_samples = sample["ecg"], torch.tensor([800, 800, 350, 350])
    text = model.embed_text(sample["text"], sample["text_padding_mask"])
    moved = ecg + torch.linspace(-3, 3, 12)[:, None]
    for real in (None, n_samples):
        expected, found = model.embed_ecg(ecg, real), model.embed_ecg(moved, real)
        torch.testing.assert_close(found.mean, expected.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.similarity(found, text), model.similarity(expected, text), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.ecg_features(moved, real), model.ecg_features(ecg, real), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model.embed_ecg(ecg).mean, model.embed_ecg(3 * ecg).mean, atol=1e-4)
    uncentred = tiny_merl(encoder).eval()
    uncentred.load_state_dict(model.state_dict())
    assert not torch.allclose(uncentred.embed_ecg(moved).mean, uncentred.embed_ecg(ecg).mean, atol=1e-3)


def test_temperatures_are_learned_up_to_a_bound_or_stay() -> None:
    model, sample = tiny_merl(), batch()
    assert float(model.logit_scale) == pytest.approx(1 / 0.07)
    with torch.no_grad():
        model.log_logit_scale.fill_(9.0)
    for sign, comes_back in ((1, True), (-1, False)):
        model.zero_grad()
        scale = model(**sample)["logit_scale"]
        assert float(scale) == pytest.approx(100)
        (sign * scale).backward()
        assert bool(model.log_logit_scale.grad > 0) == comes_back and bool(model.log_logit_scale.grad) == comes_back
    with torch.no_grad():
        model.log_logit_scale.fill_(4.0)
    (-model.logit_scale).backward()
    assert model.log_logit_scale.grad == pytest.approx(-math.exp(4.0))
    fixed = tiny_merl(learn_logit_scale=False)
    assert not fixed.log_logit_scale.requires_grad and not fixed.log_uma_scale.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_agrees(encoder: str, dtype: torch.dtype) -> None:
    whole, half = (tiny_merl(encoder, view_dropout=0.0) for _ in range(2))
    half.load_state_dict(whole.state_dict())
    half.to(dtype)
    sample = batch()
    expected, found = whole(**sample), half(**sample)
    for name in ("ecg_embedding", "text_embedding"):
        assert found[name].dtype == torch.float32
        assert (found[name] * expected[name]).sum(1).min() > 0.99, name
    loss = both_losses(found, 4)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, both_losses(expected, 4), rtol=0.1, atol=0.1)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in half.parameters())


def test_recomputing_changes_neither_gradients_nor_statistics(encoder: str) -> None:
    plain, recomputed = (tiny_merl(encoder, view_dropout=0.0, checkpoint_activations=on) for on in (False, True))
    recomputed.load_state_dict(plain.state_dict())
    for model in (plain, recomputed):
        both_losses(model(**batch()), 4).backward()
    for (name, parameter), other in zip(plain.named_parameters(), recomputed.parameters()):
        assert (parameter.grad is None) == (other.grad is None)
        assert parameter.grad is None or torch.equal(parameter.grad, other.grad), name
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, recomputed.state_dict()[name]), name


def test_equal_seeds_give_equal_models(encoder: str) -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([tensor.flatten() for tensor in tiny_merl(encoder).ecg_tower.state_dict().values()])

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("normalisation", ["centred", "min_max"])
def test_a_step_waits_for_nothing(encoder: str, padded: bool, normalisation: str) -> None:
    """On a GPU, reading a number back would halt the CPU; neither padding nor the frozen tower makes it do so."""
    model, sample = tiny_merl(encoder, normalisation=normalisation), batch()
    if padded:
        sample["n_samples"] = torch.tensor([800, 800, 350, 350])
    model(**sample)
    assert WaitCounter.count(lambda: both_losses(model(**sample), 4).backward()) == 0


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(DataError, match="resnet18, vit_tiny"):
        tiny_merl(ecg_encoder="resnet50")
    for options in ({"ecg_rate": 200}, {"ecg_rate": 100, "ecg_encoder": "vit_tiny"}):
        with pytest.raises(DataError, match="ecg_rate must be one of 500, 250, 100 with resnet18, else 500"):
            tiny_merl(**options)
    with pytest.raises(ValueError, match="none, centred, min_max"):
        tiny_merl(normalisation="z")(**batch())


def test_classifiers_from_before_there_was_a_rate_open(tmp_path) -> None:
    made = Classifier.build_model(ClassifierConfig(encoder="merl", ecg_width=8, num_classes=2, class_names=["a", "b"]))
    cfg = {**dataclasses.asdict(made.cfg), "_name": "cmelt_classifier"}
    del cfg["ecg_rate"]
    torch.save({"model": made.state_dict(), "cfg": {"model": cfg, "task": {"_name": "x"}}}, tmp_path / "old.pt")
    assert load_model(tmp_path / "old.pt").model.cfg.ecg_rate == 500
