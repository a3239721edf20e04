"""With released weights the model computes what the released model computes (float32): outputs, losses and gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS, MIMIC_IV_ECG_LEADS, lead_indices
from cmelt_plugin.losses.clip import clip_loss
from cmelt_plugin.losses.pcmepp import vib
from cmelt_plugin.models.echoing.config import EchoingConfig
from cmelt_plugin.models.echoing.criterion import PCMEPPCriterion, PCMEPPCriterionConfig
from cmelt_plugin.models.echoing.model import EchoingECG
from cmelt_plugin.models.echoing.released import convert, our_settings

# |a − b| / max(1, max |b|), as the case's own description gives it.
OUTPUTS, NORMS, ENTRIES = 1e-4, 1e-3, 1e-2
PARAMETERS = (
    "ecg_encoder.conv1.weight",
    "ecg_encoder.linear.weight",
    "ecg_encoder.gpool.gru.weight_ih_l0",
    "ecg_encoder.std_gpool.linear.weight",
    "text_encoder.std_linear.weight",
)


class Loading:
    loading_checkpoint = True


class Standardised(nn.Module):
    """In place of the front end: the case's ECGs are at 100 Hz and standardised already."""

    step = 5

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return ecg, n_samples


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    path = real_data / "reference" / "echoing_tiny"
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


def build(weights: dict[str, Tensor], case: dict[str, Tensor], lead_order: Any = LEADS) -> EchoingECG:
    statistics = {lead: [float(case["center"][row]), float(case["scale"][row])] for row, lead in enumerate(lead_order)}
    settings = our_settings(weights, {"text_heads": 4, "lead_statistics": statistics})
    text = {**json.loads(settings["text_encoder_config"]), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = EchoingECG.build_model(EchoingConfig(**{**settings, "text_encoder_config": json.dumps(text)}), Loading())
    model.load_state_dict(convert(weights, lead_order), strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def model(weights, case) -> EchoingECG:
    """Channels are taken as they stand in the case, whose signals are invented."""
    return build(weights, case)


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = OUTPUTS) -> None:
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max() / expected.abs().max().clamp(min=1)
    assert error < tolerance, f"{float(error):.1e}"


@torch.no_grad()
def test_front_end(case, model) -> None:
    found, _ = model.ecg_tower.front_end(case["preprocess_raw500"][None])
    assert_near(found, case["ecg"][:1])
    assert_near(model.embed_ecg(case["preprocess_raw500"][None]).mean, case["eval.ecg_mean"][:1])


@torch.no_grad()
def test_ecg_encoder(case, model) -> None:
    tower, variance = model.ecg_tower, model.ecg_log_variance
    states, padding = tower.encoder.states(case["ecg"])
    assert padding is None
    assert_near(states.transpose(1, 2), case["ecg_features"])
    assert_near(tower.mean.projected(states), case["ecg_mean_tokens"])
    assert_near(variance.projected(states), case["ecg_logvar_tokens"])
    assert_near(tower.mean.pool.weights(63, 63)[:, :, None], case["ecg_mean_weights"])
    assert_near(variance.pool.weights(63, 63)[:, :, None], case["ecg_logvar_weights"])
    assert_near(tower.mean(states), case["eval.ecg_mean"])
    assert_near(variance(states), case["eval.ecg_logvar"])


@torch.no_grad()
def test_text_encoder(case, model) -> None:
    text, padding = case["text_ids"], case["text_mask"] == 0
    states = model.text_encoder(text, padding)
    assert_near(states[~padding], case["text_states"][~padding])
    lengths = case["text_lengths"]
    assert_near(model.text_mean.pool.weights(lengths, 30)[:, :, None], case["text_mean_weights"])
    assert_near(model.text_log_variance.pool.weights(lengths, 30)[:, :, None], case["text_logvar_weights"])
    embedding = model.embed_text(text, padding)
    assert_near(embedding.mean, case["text_mean"])
    assert_near(embedding.log_variance, case["text_logvar"])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_losses_and_gradients(mode: str, case, weights, folder) -> None:
    """Conversion is differentiable, so that gradients come out under the names and in the shapes of the release's."""
    theirs = {name: w.clone().requires_grad_(w.is_floating_point() and "running" not in name) for name, w in weights.items()}
    model = build(weights, case).train(mode == "train")
    model.ecg_tower.front_end = Standardised()
    matching = {
        f"{name}.{pair}": torch.tensor(5.0, requires_grad=True)
        for name in ("scale", "shift")
        for pair in ("ecg_text", "ecg_echo")
    }
    state = {**convert(theirs, LEADS), **matching}
    kept: dict[str, Any] = {}

    def forward(**inputs: Any) -> dict[str, Any]:
        kept.update(torch.func.functional_call(model, state, (), inputs))
        for name in ("ecg_mean", "ecg_log_variance", "text_mean", "text_log_variance"):
            kept[name].retain_grad()
        return kept

    sample = {
        "id": torch.arange(5),
        "report_id": torch.tensor([0, 1, 2, 3, 0]),
        "teacher_row": torch.arange(5),
        "ntokens": 5,
        "net_input": {
            "ecg": case["ecg"],
            "text": case["text_ids"],
            "text_padding_mask": case["text_mask"] == 0,
            "teacher_mean": case["echo_mean"],
            "teacher_log_variance": case["echo_logvar"],
        },
    }
    loss, rows, log = PCMEPPCriterion(PCMEPPCriterionConfig(), None).train()(forward, sample)
    (loss / rows).backward()
    for pair in ("ecg_text", "ecg_echo"):
        assert_near(log[f"loss_{pair}"] / rows, case[f"{mode}.{pair}_loss"])
        for ours, name in (("scale", "negative_scale"), ("shift", "shift")):
            assert_near(matching[f"{ours}.{pair}"].grad[None], case[f"{mode}.grad.{pair}.{name}"])
    texts = vib(kept["text_mean"], kept["text_log_variance"]).mean() + vib(kept["ecg_mean"], kept["ecg_log_variance"]).mean()
    assert_near(texts, case[f"{mode}.ecg_text_vib"])
    for name, ours in (("ecg_logvar", "ecg_log_variance"), ("text_logvar", "text_log_variance")):
        assert_near(kept[ours], case[f"{mode}.{name}" if name.startswith("ecg") else name])
        assert_near(kept[ours].grad, case[f"{mode}.grad.{name}"])
    for name in ("ecg_mean", "text_mean"):
        assert_near(kept[name].grad, case[f"{mode}.grad.{name}"])

    order = json.loads((folder / "config.json").read_text(encoding="utf-8"))["grad_norm_names"]
    gradients = {name: torch.zeros_like(theirs[name]) if theirs[name].grad is None else theirs[name].grad for name in order}
    assert_near(torch.stack([gradients[name].norm() for name in order]), case[f"{mode}.grad_norms"], NORMS)
    if mode == "eval":
        for name in PARAMETERS:
            assert_near(gradients[name], case[f"eval.grad.{name}"], ENTRIES)
    else:
        for name in ("running_mean", "running_var"):
            assert_near(state[f"ecg_tower.encoder.bn1.{name}"], case[f"train.bn1.{name}"])
    points = clip_loss(*(kept[name] for name in ("ecg_mean", "text_mean") * 2), 2 * torch.eye(5) - 1, 1.0, "mean") / 5
    assert_near(points, case[f"{mode}.info_nce_ecg_text"])


def test_leads_are_permuted_by_name(case, weights) -> None:
    """The same recording, once in the order of MIMIC-IV-ECG to the release and once in ours to our model."""
    order = lead_indices(MIMIC_IV_ECG_LEADS)
    model = build(weights, case, MIMIC_IV_ECG_LEADS)
    raw = case["preprocess_raw500"][None]
    with torch.no_grad():
        assert_near(model.embed_ecg(raw[:, order]).mean, case["eval.ecg_mean"][:1])
        assert (model.embed_ecg(raw).mean - case["eval.ecg_mean"][:1]).abs().max() > 1e-3
