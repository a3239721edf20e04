"""With released weights the model computes what the released model computes (float32): outputs, losses and gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS, MIMIC_IV_ECG_LEADS, lead_indices
from cmelt_plugin.losses import clip_loss
from cmelt_plugin.models.merl.config import MERLConfig
from cmelt_plugin.models.merl.model import MERL
from cmelt_plugin.models.merl.released import convert, our_settings
from cmelt_plugin.modules.ecg.length_batch_norm import LengthBatchNorm

# |a − b| / max(1, max |b|), as the case's own description gives it.
OUTPUTS, GRADIENTS = 1e-4, 1e-3


class Loading:
    loading_checkpoint = True


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    path = real_data / "reference" / "merl_tiny"
    if not path.is_dir():
        pytest.skip(f"no released model at {path}")
    return path


@pytest.fixture(scope="module", params=["resnet18", "vit_tiny"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def case(folder, kind) -> dict[str, Tensor]:
    """Inputs, and what the released model makes of them; names without the encoder's."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "case.safetensors")
    return {name[len(kind) + 1 :] if name.startswith(f"{kind}.") else name: tensor for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def weights(folder, kind) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / f"weights_{kind}.safetensors")


def build(weights: dict[str, Tensor], lead_order: Any = LEADS, **changes: Any) -> MERL:
    settings = our_settings(weights, {"ecg_heads": 3, "text_heads": 4})
    model = MERL.build_model(MERLConfig(**{**settings, **changes}), Loading())
    model.load_state_dict(convert(weights, lead_order), strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def model(weights) -> MERL:
    """Channels are taken as they stand in the case, whose signals are invented."""
    return build(weights)


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = OUTPUTS) -> None:
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max() / expected.abs().max().clamp(min=1)
    assert error < tolerance, f"{float(error):.1e}"


def text_of(case: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Ids and padding, cut to the longest text: what is padding must not matter."""
    length = int(case["token_mask"].sum(1).max())
    return case["token_ids"][:, :length], case["token_mask"][:, :length] == 0


def losses(out: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The release's two losses: means over the batch."""
    labels = 2 * torch.eye(len(out["view1"])) - 1
    ecg, text, view1, view2 = (out[name] for name in ("ecg_embedding", "text_embedding", "view1", "view2"))
    cma = clip_loss(ecg, text, ecg, text, labels, out["logit_scale"])
    uma = clip_loss(view1, view2, view1, view2, labels, out["uma_scale"])
    return cma / len(ecg), uma / len(ecg)


@torch.no_grad()
def test_towers(case, model, kind) -> None:
    ecg = case["ecg"]
    if kind == "resnet18":
        features, n_steps = model.ecg_tower.encoder(ecg)
        assert n_steps is None
        assert_near(features, case["features"])
        assert_near(model.ecg_features(ecg), case["probe_features"])
        tower = model.ecg_tower(ecg)
        assert_near(tower.view_input, case["view_input"])
        assert_near(tower.projected, case["attention_pool"][:, 0])
    else:
        assert_near(model.ecg_features(ecg), case["features"])
        tower = model.ecg_tower(ecg)
        assert torch.equal(tower.view_input, model.ecg_features(ecg))
    assert_near(tower.projected, case["ecg_projected"])
    assert_near(model.text_features(*text_of(case)), case["text_pooled"])


@torch.no_grad()
def test_attention_of_the_pool(case, model, kind) -> None:
    if kind != "resnet18":
        pytest.skip("the ViT has no attention pool")
    pool = model.ecg_tower.pool
    features, _ = model.ecg_tower.encoder(case["ecg"])
    states = model.ecg_tower.conv(features).transpose(1, 2) + pool.positions
    context = torch.cat([pool.class_token.expand(len(states), 1, -1), states], dim=1)
    query = pool.attention.q_proj(context[:, :1]).unflatten(-1, (4, -1)).transpose(1, 2)
    key = pool.attention.k_proj(context).unflatten(-1, (4, -1)).transpose(1, 2)
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1).mean(1)
    assert_near(weights[..., 1:], case["attention_map"])


@torch.no_grad()
def test_zero_shot_scores(case, model) -> None:
    prompts = model.embed_text(case["prompt_ids"], case["prompt_mask"] == 0)
    assert_near(prompts.mean, case["prompt_latents"])
    assert_near(model.similarity(model.embed_ecg(case["ecg"]), prompts), case["zeroshot_scores"])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses_and_gradients(case, weights, folder, kind, mode) -> None:
    """Conversion is differentiable, so that gradients come out under the names and in the shapes of the release's."""
    theirs = {name: w.clone().requires_grad_() if w.is_floating_point() else w for name, w in weights.items()}
    theirs = {name: w.detach() if "running" in name else w for name, w in theirs.items()}
    state = convert(theirs, LEADS)
    model = build(weights, view_dropout=0.0).train(mode == "train")
    out = torch.func.functional_call(model, state, (case["ecg"], *text_of(case)))
    outputs = {"ecg_latent": "ecg_embedding", "text_latent": "text_embedding", "view1": "view1", "view2": "view2"}
    for name, ours in outputs.items():
        assert_near(out[ours], case[f"{mode}.{name}"])
        out[ours].retain_grad()
    cma, uma = losses(out)
    assert_near(cma, case[f"{mode}.cma_loss"])
    assert_near(uma, case[f"{mode}.uma_loss"])
    assert_near(cma + uma, case[f"{mode}.total_loss"])
    (cma + uma).backward()
    for name, ours in outputs.items():
        expected = case[f"{mode}.grad.{name}"]
        if "latent" in name:  # ours are normalised once more in the loss, which takes away what changes length alone
            unit = case[f"{mode}.{name}"]
            expected = expected - (expected * unit).sum(1, keepdim=True) * unit
        assert_near(out[ours].grad, expected, GRADIENTS)
    names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["grad_norm_names"][kind]
    gradients = {name: torch.zeros_like(theirs[name]) if theirs[name].grad is None else theirs[name].grad for name in names}
    assert_near(torch.stack([gradients[name].norm() for name in names]), case[f"{mode}.grad_norms"], GRADIENTS)
    prefix = f"{mode}.grad."
    whole = [name[len(prefix) :] for name in case if name.startswith(prefix) and name[len(prefix) :] in gradients]
    assert len(whole) == (0 if mode == "train" else 6 if kind == "resnet18" else 5)
    for name in whole:
        assert_near(gradients[name], case[prefix + name], GRADIENTS)
    if mode == "train":
        theirs_norm, ours_norm = ("ecg_encoder.bn1", "encoder.bn1") if kind == "resnet18" else ("proj_e.1", "hidden_norm")
        for name in ("running_mean", "running_var"):
            assert_near(state[f"ecg_tower.{ours_norm}.{name}"], case[f"train.{theirs_norm}.{name}"])


def test_leads_are_permuted_by_name(case, weights) -> None:
    """The same recording, once in the order of MIMIC-IV-ECG to the release and once in ours to our model."""
    order = lead_indices(MIMIC_IV_ECG_LEADS)
    assert order[4:6] == [5, 4]
    model = build(weights, MIMIC_IV_ECG_LEADS)
    with torch.no_grad():
        in_our_order = model.embed_ecg(case["ecg"][:, order]).mean
        as_stored = model.embed_ecg(case["ecg"]).mean
    assert_near(in_our_order, case["eval.ecg_latent"])
    assert (as_stored - case["eval.ecg_latent"]).abs().max() > 1e-3


def test_every_batch_norm_is_one_that_knows_lengths(model) -> None:
    norms = [module for module in model.modules() if "BatchNorm" in type(module).__name__]
    assert norms and all(isinstance(norm, LengthBatchNorm) for norm in norms)
