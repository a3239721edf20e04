"""From a configuration to a model: paper sizes, the paper's similarity, and where the first weights come from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import TINY_MODEL, tiny_model, tiny_t5_config
from torch import nn

from cmelt_plugin import host, registry
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.models.cmelt.model import CMELT
from cmelt_plugin.modules.text.text_encoder import TextEncoder

FLAN_T5_BASE = {
    "model_type": "t5",
    "vocab_size": 32128,
    "d_model": 768,
    "d_ff": 2048,
    "num_layers": 12,
    "num_heads": 12,
    "d_kv": 64,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_defaults_are_the_paper_sizes() -> None:
    """321 million parameters, as measured on the release.

    The release has 1,535 more: its matching head has two classes instead of one logit (1,537), and it has no similarity
    scale and bias (2).
    """
    cfg = CMELTConfig(text_encoder_config=json.dumps(FLAN_T5_BASE), text_encoder_pretrained=False)
    with torch.device("meta"):
        model = CMELT.build_model(cfg)
    assert count(model) == 321_385_795
    assert round(count(model) / 1e6) == 321
    assert {name: count(part) for name, part in model.named_children()} == {
        "ecg_encoder": 62_022_528,
        "text_encoder": 109_628_544,
        "ecg_projection": 590_592,
        "text_projection": 590_592,
        "fusion": 114_604_032,
        "fused_text_pooler": 590_592,
        "fused_ecg_pooler": 590_592,
        "mlm_head": 25_298_560,
        "mem_head": 7_468_224,
        "etm_head": 1_537,
    }
    assert model.n_ecg_tokens == 312
    assert model.mem_head.predict.out_features == 192
    assert cfg.mem_ratio == 0.75 and cfg.mem_layer == 3


def test_siglips_similarity_is_learned_from_its_initial_values() -> None:
    model = tiny_model()
    assert model.log_logit_scale.requires_grad and model.logit_bias.requires_grad
    assert model.log_logit_scale.item() == pytest.approx(math.log(10))
    assert model.logit_bias.item() == -10.0
    changed = tiny_model(logit_scale_init=5.0, logit_bias_init=-3.0)
    assert changed.logit_scale.item() == pytest.approx(5.0) and changed.logit_bias.item() == -3.0


def test_the_papers_similarity_is_the_dot_product() -> None:
    model = tiny_model(learn_logit_scale=False, normalise_embeddings=False)
    assert not model.log_logit_scale.requires_grad and not model.logit_bias.requires_grad
    assert model.logit_scale.item() == 1.0 and model.logit_bias.item() == 0.0


def test_registered_under_its_name() -> None:
    registry.register()
    assert registry.models()["cmelt"].model_class() is CMELT
    assert issubclass(host.model_class(SimpleNamespace(_name="cmelt")), CMELT)


def config(**changes) -> CMELTConfig:
    return CMELTConfig(**{**TINY_MODEL, **changes})


@pytest.fixture
def text_folder(tmp_path: Path) -> str:
    torch.manual_seed(7)
    TextEncoder(tiny_t5_config()).model.save_pretrained(tmp_path / "text_encoder")
    return str(tmp_path / "text_encoder")


def text_weight(model: nn.Module) -> torch.Tensor:
    return model.text_encoder.model.encoder.block[0].layer[0].SelfAttention.q.weight.detach()


def test_text_weights_come_from_the_folder(text_folder: str) -> None:
    original = TextEncoder(tiny_t5_config(), text_folder)
    model = CMELT.build_model(config(text_encoder=text_folder, text_encoder_pretrained=True))
    expected = original.model.encoder.block[0].layer[0].SelfAttention.q.weight
    assert torch.equal(text_weight(model), expected)
    random = CMELT.build_model(config(text_encoder=text_folder, text_encoder_pretrained=False))
    assert not torch.equal(text_weight(random), expected)


def test_a_checkpoint_opens_without_the_folders(text_folder: str, tmp_path: Path) -> None:
    cfg = config(text_encoder=text_folder, text_encoder_pretrained=True)
    CMELT.prepare_config(cfg)
    trained = CMELT.build_model(cfg)
    Path(text_folder).rename(tmp_path / "gone")
    cfg.ecg_encoder_init = str(tmp_path / "gone" / "w2v.pt")
    with pytest.raises(DataError, match="text_encoder"):
        CMELT.build_model(cfg)  # a new model does need its weights
    opened = CMELT.build_model(cfg, SimpleNamespace(loading_checkpoint=True))
    opened.load_state_dict(trained.state_dict())


def test_prepare_config_keeps_a_description_that_is_there() -> None:
    cfg = config(text_encoder="/no/such/folder", text_encoder_config=tiny_t5_config())
    CMELT.prepare_config(cfg)
    assert cfg.text_encoder_config == tiny_t5_config()


def test_ecg_weights_come_from_the_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(5)
    donor = tiny_model()
    weights = {name: tensor for name, tensor in donor.ecg_encoder.state_dict().items() if name != "class_embedding"}
    torch.save({"model": weights}, tmp_path / "w2v.pt")
    model = tiny_model(ecg_encoder_init=str(tmp_path / "w2v.pt"))
    for name, tensor in weights.items():
        assert torch.equal(model.ecg_encoder.state_dict()[name], tensor)


def test_ecg_weights_that_do_not_fit_stop_the_training(tmp_path: Path) -> None:
    """The released code catches this and goes on with random weights."""
    weights = tiny_model().ecg_encoder.state_dict()
    del weights["class_embedding"], weights["encoder.layers.0.fc1.weight"]
    torch.save({"model": weights}, tmp_path / "w2v.pt")
    with pytest.raises(DataError, match="missing: encoder.layers.0.fc1.weight"):
        tiny_model(ecg_encoder_init=str(tmp_path / "w2v.pt"))
    tiny_model(ecg_encoder_init=str(tmp_path / "w2v.pt"), ecg_encoder_init_partial=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_pool": "max"}, "pool"),
        ({"conv_feature_layers": "oops"}, "conv_feature_layers"),
        ({"mem_layer": 2}, "mem_layer"),
        ({"fusion_heads": 5}, "5 attention heads"),
        ({"mem_ratio": 1.0}, "mask ratio"),
    ],
)
def test_impossible_values_raise(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model = tiny_model(**change)
        model.ecg_encoder(torch.zeros(1, 12, 64), mask_noise=torch.zeros(1, 4).long(), mask_ratio=model.cfg.mem_ratio)
