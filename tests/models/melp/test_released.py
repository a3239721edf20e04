"""The key map of MELP's published weights: strict both ways, for the whole checkpoint and the ECG encoder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_melp import release_weights
from torch import Tensor

from cmelt_plugin import export, load_pretrained
from cmelt_plugin.data.leads import MIMIC_IV_ECG_LEADS, lead_indices
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.melp.config import MELPConfig
from cmelt_plugin.models.melp.model import MELP
from cmelt_plugin.models.melp.released import CAPTION_POOL, UNUSED, convert, our_settings

HEADS = {"ecg_heads": 4, "text_heads": 4, "attn_pooler_heads": 4}


class Loading:
    loading_checkpoint = True


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "encoder"])
def weights(request) -> dict[str, Tensor]:
    return release_weights(encoder_alone=request.param)


def is_alone(weights: dict[str, Tensor]) -> bool:
    return "logit_scale" not in weights


def model_of(weights: dict[str, Tensor]) -> Any:
    model = MELP.build_model(MELPConfig(**our_settings(weights, HEADS)), Loading())
    model.load_state_dict(convert(weights), strict=True)
    return model.eval()


def test_every_weight_of_ours_is_set_and_every_one_of_theirs_is_used(weights) -> None:
    ours = set(model_of(weights).state_dict())
    same = convert(weights)
    assert set(same) == ours
    unused = {name for name in weights if UNUSED.fullmatch(name)}
    assert len(unused) == (12 if is_alone(weights) else 16)
    dropped = {name for name in weights if is_alone(weights) and name.startswith(CAPTION_POOL)}
    for name in set(weights) - unused - dropped:
        less = {key: value for key, value in weights.items() if key != name}
        try:
            assert set(convert(less)) != ours
        except DataError as error:
            assert name in str(error)
        changed = convert({**weights, name: weights[name] + 1})
        assert any(not torch.equal(changed[key], same[key]) for key in same), f"{name} has no effect"
    without = convert({name: tensor for name, tensor in weights.items() if name not in unused | dropped})
    assert all(torch.equal(without[key], same[key]) for key in same)


def test_unknown_and_missing_weights_are_refused(weights) -> None:
    for name in ("ecg_encoder.extra.weight", "ecg_encoder.attn_pool_contrast.attn.bias_k"):
        with pytest.raises(DataError, match=f"does not know: {name}"):
            convert({**weights, name: torch.zeros(2)})
    with pytest.raises(DataError, match="lack ecg_encoder.proj_contrast"):
        convert({key: value for key, value in weights.items() if key != "ecg_encoder.proj_contrast"})
    with pytest.raises(DataError, match="lack ecg_encoder.ecg_encoder.post_extract_proj.weight"):
        our_settings({key: value for key, value in weights.items() if not key.endswith("post_extract_proj.weight")})


def test_leads_are_permuted_by_name(weights) -> None:
    order = lead_indices(MIMIC_IV_ECG_LEADS)
    assert [MIMIC_IV_ECG_LEADS[place] for place in order[3:6]] == ["aVR", "aVL", "aVF"]
    theirs = weights["ecg_encoder.ecg_encoder.feature_extractor.conv_layers.0.0.weight"]
    ours = convert(weights)["ecg_tower.encoder.feature_extractor.conv_layers.0.0.weight"]
    assert torch.equal(ours, theirs[:, order]) and not torch.equal(ours, theirs)


def test_the_number_of_queries_is_that_of_the_weights(weights) -> None:
    """D-M6: with a checkpoint at hand the release falls back to 10, whatever is asked for."""
    assert our_settings(weights, HEADS)["n_queries"] == 6
    model = model_of(weights)
    assert model.beat_attention(torch.randn(1, 12, 800)).shape[1] == 6
    cfg = MELPConfig(**{**our_settings(weights, HEADS), "n_queries": 10})
    with pytest.raises(RuntimeError, match="contrast_pool.queries"):
        MELP.build_model(cfg, Loading()).load_state_dict(convert(weights), strict=True)


def test_they_read_scaled_amplitudes_and_the_released_layout(weights) -> None:
    model, signal = model_of(weights), torch.randn(2, 12, 800)
    assert model.signal.normalisation == "min_max"
    with torch.no_grad():
        torch.testing.assert_close(model.embed_ecg(signal).mean, model.embed_ecg(3 * signal - 0.2).mean, rtol=1e-3, atol=1e-4)
    if is_alone(weights):
        assert not hasattr(model, "embed_text")
        return
    assert model.layout.gaps and model.layout.tokens == (59, 3, 2)
    assert not model.text_is_cacheable and not model.log_beat_scale.requires_grad
    assert float(model.logit_scale.detach()) == pytest.approx(float(weights["logit_scale"].exp()))


def test_sizes_of_the_published_encoder_need_no_configuration() -> None:
    weights = release_weights(encoder_alone=True)
    shapes = {name: torch.empty(tensor.shape, device="meta") for name, tensor in weights.items()}
    sizes = {
        "ecg_encoder.ecg_encoder.post_extract_proj.weight": (768, 256),
        "ecg_encoder.ecg_encoder.conv_pos.pos_conv.0.parametrizations.weight.original1": (768, 48, 128),
        "ecg_encoder.ecg_encoder.encoder.layers.0.fc1.weight": (3072, 768),
        "ecg_encoder.attn_pool_contrast.query": (14, 256),
        **{f"ecg_encoder.ecg_encoder.encoder.layers.{index}.fc1.weight": (3072, 768) for index in range(1, 8)},
    }
    shapes.update({name: torch.empty(shape, device="meta") for name, shape in sizes.items()})
    published, default = MELPConfig(**our_settings(shapes)), MELPConfig()
    assert {name for name in MELPConfig.encoder_sizes if getattr(published, name) != getattr(default, name)} == {
        "normalisation"
    }


def test_the_encoder_alone_opens_serves_and_is_exported(tmp_path: Path) -> None:
    """As published on a hub: no text encoder, under the names of the whole checkpoint."""
    (tmp_path / "in").mkdir()
    save_file(release_weights(encoder_alone=True), tmp_path / "in" / "model.safetensors")
    (tmp_path / "in" / "config.json").write_text('{"ecg_heads": 4, "attn_pooler_heads": 4, "n_queries_contrast": 6}')
    opened = load_pretrained(tmp_path / "in")
    assert not opened.reads_text and opened.cfg["model"]["ecg_only"]
    signal = torch.randn(12, 5000).numpy()
    assert opened.ecg_features(signal).shape[-1] == 16 and opened.ecg_features(signal, pool="mean").shape[-1] == 32
    with pytest.raises(DataError, match="reads no texts"):
        opened.encode_text(["sinus rhythm"])
    assert export.main(["--released", str(tmp_path / "in"), "--dest", str(tmp_path / "out")]) == 0
    assert torch.equal(load_pretrained(tmp_path / "out").encode_ecg(signal), opened.encode_ecg(signal))
    with pytest.raises(DataError, match="cannot be pre-trained"):
        MELP.build_model(MELPConfig(ecg_only=True))


def test_a_lightning_checkpoint_opens(tmp_path: Path) -> None:
    """With what Lightning puts beside the weights: settings, counters, the states of callbacks and optimisers."""
    state = release_weights()
    weight = next(iter(state.values()))
    checkpoint = {
        "epoch": 4,
        "global_step": 46592,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val/mean_AUROC'}": {"best_model_score": torch.tensor(0.7)}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0), "exp_avg": weight}}, "param_groups": [{"lr": 2e-4}]}],
        "lr_schedulers": [{"T_0": 100}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"shared_emb_dim": 256, "init_logit_scale": np.log(1 / 0.07), "val_dataset_list": ["ptbxl_form"]},
    }
    torch.save(checkpoint, tmp_path / "epoch=4-step=46592.ckpt")
    (tmp_path / "config.json").write_text('{"ecg_heads": 4, "text_heads": 4, "attn_pooler_heads": 4}')
    opened = load_pretrained(tmp_path)
    expected = convert(state)
    found = opened.model.state_dict()
    assert set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in found)
    assert opened.max_text_tokens == 127
