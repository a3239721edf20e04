"""Weights of wav2vec-style ECG models: all of them arrive, or the user hears which do not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.common.ecg_init import load_ecg_encoder
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder

CONV = [(16, 2, 2)] * 4
NEW_SPELLING = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
# What pre-training leaves in a wav2vec 2.0 / CMSC checkpoint besides the encoder.
EXTRAS = {
    "mask_emb": (16,),
    "quantizer.vars": (1, 20, 8),
    "quantizer.weight_proj.weight": (20, 16),
    "quantizer.weight_proj.bias": (20,),
    "project_q.weight": (8, 8),
    "project_q.bias": (8,),
    "final_proj.weight": (8, 16),
    "final_proj.bias": (8,),
}


def encoder(seed: int = 0, **changes: Any) -> ECGEncoder:
    torch.manual_seed(seed)
    sizes = {"dim": 16, "layers": 2, "heads": 2, "ffn_dim": 32, "conv_pos": 8, "conv_pos_groups": 2, **changes}
    return ECGEncoder(host.ecg_feature_extractor(CONV, 12), CONV, **sizes)


def wav2vec_weights(new_spelling: bool = False) -> dict[str, Tensor]:
    """The state dict of a wav2vec model of that size as fairseq-signals writes it, no number like another."""
    shapes = {
        "feature_extractor.conv_layers.0.0.weight": (16, 12, 2),
        "feature_extractor.conv_layers.0.2.weight": (16,),
        "feature_extractor.conv_layers.0.2.bias": (16,),
        **{f"feature_extractor.conv_layers.{i}.0.weight": (16, 16, 2) for i in (1, 2, 3)},
        "layer_norm.weight": (16,),
        "layer_norm.bias": (16,),
        "post_extract_proj.weight": (16, 16),
        "post_extract_proj.bias": (16,),
        "conv_pos.pos_conv.0.bias": (16,),
        "conv_pos.pos_conv.0.weight_g": (1, 1, 8),
        "conv_pos.pos_conv.0.weight_v": (16, 8, 8),
        "encoder.layer_norm.weight": (16,),
        "encoder.layer_norm.bias": (16,),
    }
    for layer in ("encoder.layers.0", "encoder.layers.1"):
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"):
            shapes.update({f"{layer}.{name}.weight": (16, 16), f"{layer}.{name}.bias": (16,)})
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes.update({f"{layer}.{name}.weight": (16,), f"{layer}.{name}.bias": (16,)})
        shapes.update({f"{layer}.fc1.weight": (32, 16), f"{layer}.fc1.bias": (32,)})
        shapes.update({f"{layer}.fc2.weight": (16, 32), f"{layer}.fc2.bias": (16,)})
    shapes.update(EXTRAS)
    generator = torch.Generator().manual_seed(9)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {renamed(name): weights[name] for name in weights} if new_spelling else weights


def renamed(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    return f"{stem}.{NEW_SPELLING.get(kind, kind)}" if stem else name


def save(path: Path, weights: dict[str, Tensor]) -> str:
    torch.save({"model": weights, "cfg": {"model": {"_name": "w2v_cmsc"}}, "extra_state": {"epoch": 3}}, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "ecg_encoder.", "encoder.w2v_model.", "w2v_encoder.w2v_model."])
@pytest.mark.parametrize("new_spelling", [False, True])
def test_every_weight_arrives(tmp_path: Path, new_spelling: bool, prefix: str) -> None:
    weights = wav2vec_weights(new_spelling)
    model = encoder()
    cls = model.class_embedding.detach().clone()
    path = save(tmp_path / "w2v.pt", {prefix + name: tensor for name, tensor in weights.items()})
    fit = load_ecg_encoder(model, path)
    assert not any(fit)
    expected = {renamed(name): tensor for name, tensor in weights.items() if name not in EXTRAS}
    loaded = model.state_dict()
    assert torch.equal(loaded.pop("class_embedding"), cls)  # wav2vec has none
    assert set(loaded) == set(expected)
    for name, tensor in loaded.items():
        assert torch.equal(tensor, expected[name]), name


def broken(kind: str) -> dict[str, Tensor]:
    weights = wav2vec_weights()
    if kind == "missing":
        del weights["encoder.layers.1.fc1.weight"]
    elif kind == "unexpected":
        weights["encoder.layers.2.fc1.weight"] = torch.zeros(32, 16)
    else:
        weights["encoder.layers.0.fc2.bias"] = torch.zeros(17)
    return weights


NAMED = {
    "missing": "missing: encoder.layers.1.fc1.weight",
    "unexpected": "unexpected: encoder.layers.2.fc1.weight",
    "mismatched": r"mismatched: encoder.layers.0.fc2.bias \(17,\) ≠ \(16,\)",
}


@pytest.mark.parametrize("kind", sorted(NAMED))
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    model = encoder()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DataError, match=NAMED[kind]):
        load_ecg_encoder(model, save(tmp_path / "w2v.pt", broken(kind)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("kind", sorted(NAMED))
def test_partial_loads_the_rest_and_says_so(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    model, weights = encoder(), broken(kind)
    with caplog.at_level(logging.WARNING):
        fit = load_ecg_encoder(model, save(tmp_path / "w2v.pt", weights), partial=True)
    warning = "\n".join(record.getMessage() for record in caplog.records)
    assert kind in warning and NAMED[kind].split()[1] in warning
    assert getattr(fit, kind)
    assert torch.equal(model.layer_norm.weight, weights["layer_norm.weight"])


def test_partial_does_not_mean_nothing(tmp_path: Path) -> None:
    """Weights of some other model must not leave the encoder random in silence."""
    path = save(tmp_path / "resnet.pt", {"stem.weight": torch.zeros(3), "stem.bias": torch.zeros(3)})
    with pytest.raises(DataError, match="unexpected: stem.weight, stem.bias"):
        load_ecg_encoder(encoder(), path, partial=True)


def test_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ecg_encoder_init_partial"):
        load_ecg_encoder(encoder(dim=32), save(tmp_path / "w2v.pt", wav2vec_weights()))


def test_a_file_without_model_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": wav2vec_weights()}, tmp_path / "other.pt")
    with pytest.raises(DataError, match="'model'"):
        load_ecg_encoder(encoder(), str(tmp_path / "other.pt"))


@pytest.mark.parametrize("content", ["missing", "empty", "text", "truncated"])
def test_unreadable_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "w2v.pt"
    if content == "empty":
        path.touch()
    elif content == "text":
        path.write_text("no checkpoint at all\n", encoding="utf-8")
    elif content == "truncated":
        save(path, wav2vec_weights())
        path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="w2v.pt"):
        load_ecg_encoder(encoder(), str(path))
