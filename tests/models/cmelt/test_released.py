"""The key map of the published weights: strict both ways, and each difference by its formula."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import tiny_model
from torch import nn

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.models.cmelt.released import convert, our_settings
from cmelt_plugin.models.files.released import is_released, load_released
from cmelt_plugin.modules.transformer import ACTIVATIONS
from tests.models.release_layout import CONFIG, release_weights, write_release


@pytest.fixture(scope="module")
def weights():
    return release_weights()


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    return load_released(write_release(tmp_path_factory.mktemp("release"), weights), "standard").model


def test_every_weight_of_ours_is_set_and_every_one_of_theirs_is_used(weights, model, tmp_path) -> None:
    assert set(convert(weights)) == set(model.state_dict())
    for name in weights:
        less = {key: value for key, value in weights.items() if key != name}
        if name.startswith("language_encoder.") and name.endswith(("shared.weight", "embed_tokens.weight")):
            assert set(convert(less)) == set(model.state_dict())  # one table under two names
            continue
        try:
            assert set(convert(less)) != set(model.state_dict())
        except DataError as error:
            assert name in str(error)
        changed = convert({**weights, name: weights[name] + 1}) if name != "mim_head.decoder_pos_embed.pe" else None
        if changed is not None and "itm_head.fc.bias" not in name:
            same = convert(weights)
            assert any(not torch.equal(changed[key], same[key]) for key in same), f"{name} has no effect"


def test_missing_unknown_and_misshapen_weights_are_refused(weights, tmp_path) -> None:
    some = "multi_modal_ecg_layers.1.crossattention.self.key.weight"
    less = {name: tensor for name, tensor in weights.items() if name != some}
    with pytest.raises(DataError, match="fusion.ecg_layers.1.cross_attn.k_proj.weight"):
        load_released(write_release(tmp_path / "less", less))
    with pytest.raises(DataError, match="weights this plugin does not know: multi_modal_sep.weight"):
        load_released(write_release(tmp_path / "more", {**weights, "multi_modal_sep.weight": torch.zeros(2)}))
    with pytest.raises(DataError, match="mem_head.mask_token"):
        load_released(write_release(tmp_path / "shape", {**weights, "mim_head.mask_token": torch.zeros(1, 1, 8)}))
    with pytest.raises(DataError, match="lack itm_head.fc.bias"):
        convert({name: tensor for name, tensor in weights.items() if name != "itm_head.fc.bias"})


def test_positions_other_than_the_sine_table_and_two_token_tables_are_refused(weights) -> None:
    pe = "mim_head.decoder_pos_embed.pe"
    with pytest.raises(DataError, match="sine/cosine"):
        convert({**weights, pe: weights[pe] + 0.01})
    shared = "language_encoder.shared.weight"
    with pytest.raises(DataError, match="two different token embeddings"):
        convert({**weights, shared: weights[shared] + 1})


def test_the_mask_vector_their_own_code_drops_is_dropped(weights) -> None:
    state = convert({**weights, "ecg_encoder.mask_emb": torch.zeros(32)})
    assert all(torch.equal(state[name], tensor) for name, tensor in convert(weights).items())


@pytest.mark.parametrize(("theirs", "ours"), [("ecg", "ecg"), ("language", "text")])
def test_projection_head_is_their_two_layers_in_a_row(weights, model, theirs, ours) -> None:
    state = torch.randn(3, 32)
    inner = nn.functional.linear(
        state, weights[f"multi_modal_{theirs}_proj.weight"], weights[f"multi_modal_{theirs}_proj.bias"]
    )
    pooler = [weights[f"unimodal_{theirs}_pooler.dense.{kind}"] for kind in ("weight", "bias")]
    expected = nn.functional.linear(inner, *pooler)
    torch.testing.assert_close(getattr(model, f"{ours}_projection").dense(state), expected, rtol=1e-5, atol=1e-5)


def test_matching_logit_is_class_one_minus_class_zero(weights, model) -> None:
    text, ecg = torch.randn(3, 32), torch.randn(3, 32)
    both = torch.cat([text, ecg], dim=1) @ weights["itm_head.fc.weight"].T + weights["itm_head.fc.bias"]
    torch.testing.assert_close(model.etm_head(text, ecg), both[:, 1] - both[:, 0], rtol=1e-4, atol=1e-5)


def test_mem_decoder_layer_equals_torchs_attention_with_the_stacked_matrix(weights, model) -> None:
    prefix = "mim_head.decoder.resblocks.0"
    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    attention.load_state_dict({name: weights[f"{prefix}.attn.{name}"] for name in names})

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return nn.functional.layer_norm(x, (16,), weights[f"{prefix}.{name}.weight"], weights[f"{prefix}.{name}.bias"])

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return nn.functional.linear(x, weights[f"{prefix}.mlp.{name}.weight"], weights[f"{prefix}.mlp.{name}.bias"])

    x = torch.randn(2, 5, 16)
    normed = norm(x, "ln_1")
    expected = x + attention(normed, normed, normed, need_weights=False)[0]
    hidden = linear(norm(expected, "ln_2"), "c_fc")
    expected = expected + linear(hidden * torch.sigmoid(1.702 * hidden), "c_proj")
    torch.testing.assert_close(model.mem_head.decoder.layers[0](x), expected, rtol=1e-5, atol=1e-5)


def test_both_spellings_of_the_settings(tmp_path) -> None:
    newer = {name.replace("mim_", "mem_"): value for name, value in CONFIG["model"].items()}
    assert our_settings({}, {"model": newer, "t5": CONFIG["t5"]}) == our_settings({}, CONFIG)
    assert our_settings({}, CONFIG)["mem_layer"] == 1 and our_settings({}, CONFIG)["mem_decoder_dim"] == 16


def test_without_a_configuration_the_sizes_are_the_papers() -> None:
    settings = our_settings({}, None)
    cfg, paper = CMELTConfig(**settings), CMELTConfig()
    sizes = [name for name in vars(paper) if "_dim" in name or name.endswith(("_layers", "_heads"))]
    assert len(sizes) > 8
    assert {name: getattr(cfg, name) for name in sizes} == {name: getattr(paper, name) for name in sizes}
    assert json.loads(cfg.text_encoder_config)["d_model"] == 768
    assert cfg.text_pool == "first" and not cfg.normalise_embeddings and cfg.mem_decoder_activation == "quick_gelu"


@pytest.mark.parametrize("change", [{"layer_norm_first": True}, {"in_d": 8}, {"conv_bias": True}])
def test_settings_of_another_model_are_refused(change) -> None:
    with pytest.raises(DataError, match=next(iter(change))):
        our_settings({}, {"model": {**CONFIG["model"], **change}})


def test_torch_files_in_either_form(weights, model, tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    for name, content in (("sample.pt", {"model": weights, "epoch": 3}), ("plain.pth", weights)):
        torch.save(content, tmp_path / name)
        assert is_released(tmp_path / name)
        loaded = load_released(tmp_path / name, "standard")
        assert not loaded.model.training
        for key, tensor in loaded.model.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key])
    with pytest.raises(DataError, match="found plain.pth, sample.pt"):
        load_released(tmp_path, "standard")


def test_other_files_are_not_taken_for_published_weights(tmp_path) -> None:
    torch.save({"model": {"encoder.weight": torch.zeros(2)}}, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("hello", encoding="utf-8")
    assert not any(is_released(tmp_path / name) for name in ("other.pt", "text.pt", "none.pt"))
    assert not is_released(tmp_path)


def test_lead_order_is_warned_about_when_not_given_and_checked_when_given(weights, tmp_path, caplog) -> None:
    folder = write_release(tmp_path, weights)
    with caplog.at_level("WARNING"):
        load_released(folder)
    assert "mimic-iv-ecg" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING"):
        load_released(folder, "standard")
    assert not caplog.text
    with pytest.raises(DataError, match="lead_order 'mimic'"):
        load_released(folder, "mimic")
    with pytest.raises(DataError, match="missing"):
        load_released(folder, ["I", "II"])


def test_the_releases_activation_is_a_setting_and_not_the_default() -> None:
    assert CMELTConfig().mem_decoder_activation == "gelu"
    with pytest.raises(ValueError, match="activation must be one of gelu, quick_gelu"):
        tiny_model(mem_decoder_activation="relu")
    x = torch.randn(5)
    for name, expected in (("gelu", x * 0.5 * (1 + torch.erf(x / 2**0.5))), ("quick_gelu", x / (1 + torch.exp(-1.702 * x)))):
        torch.testing.assert_close(ACTIVATIONS[name](x), expected)
        layers = tiny_model(mem_decoder_activation=name).mem_head.decoder.layers
        assert {layer.activation for layer in layers} == {name}
