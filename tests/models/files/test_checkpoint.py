"""A model comes back from a checkpoint as it was, or not at all."""

import dataclasses

import pytest
import torch
from tiny import TINY_MODEL, tiny_model, tiny_t5_config

from cmelt_plugin import register
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.checkpoint import load_model


@pytest.fixture(scope="module")
def model():
    register()
    return tiny_model()


@pytest.fixture
def state(model):
    from cmelt_plugin.models.cmelt.config import CMELTConfig

    cfg = CMELTConfig(**{**TINY_MODEL, "text_encoder_config": tiny_t5_config(), "text_encoder": "/gone/away"})
    values = {**dataclasses.asdict(cfg), "_name": "cmelt", "text_encoder_pretrained": True, "ecg_encoder_init": "/gone"}
    return {
        "model": dict(model.state_dict()),
        "cfg": {"model": values, "task": {"max_text_tokens": 64}},
        "task_state": {"tokenizer_fingerprint": "sha256:x"},
    }


def save(state, tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save(state, path)
    return path


def test_same_embeddings_without_any_of_the_folders_it_was_trained_from(model, state, tmp_path):
    loaded = load_model(save(state, tmp_path))
    assert not loaded.model.training
    assert loaded.task_state == {"tokenizer_fingerprint": "sha256:x"}
    assert loaded.cfg["task"]["max_text_tokens"] == 64
    ecg = torch.randn(2, 12, 5000, generator=torch.Generator().manual_seed(1))
    model.eval()
    with torch.no_grad():
        assert torch.equal(loaded.model.embed_ecg(ecg).mean, model.embed_ecg(ecg).mean)


def test_missing_and_unexpected_weights_are_refused(state, tmp_path):
    missing = dict(state, model={k: v for k, v in state["model"].items() if k != "log_logit_scale"})
    with pytest.raises(DataError, match="log_logit_scale"):
        load_model(save(missing, tmp_path))
    unexpected = dict(state, model={**state["model"], "stray": torch.zeros(1)})
    with pytest.raises(DataError, match="stray"):
        load_model(save(unexpected, tmp_path))


def test_weights_of_another_size_are_refused(state, tmp_path):
    state["cfg"]["model"]["fusion_ffn_dim"] = 128
    with pytest.raises(DataError, match="do not fit"):
        load_model(save(state, tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("cfg"), "no model configuration"),
        (lambda s: s["cfg"].pop("model"), "no model configuration"),
        (lambda s: s["cfg"]["model"].update(_name="resnet"), "resnet"),
        (lambda s: s["cfg"]["model"].update(new_setting=1), "new_setting"),
        (lambda s: s.pop("model"), "entry 'model'"),
    ],
)
def test_other_checkpoints_are_refused(state, tmp_path, change, message):
    change(state)
    with pytest.raises(DataError, match=message):
        load_model(save(state, tmp_path))


def test_no_file_and_no_checkpoint(tmp_path):
    with pytest.raises(DataError, match="no such checkpoint"):
        load_model(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(DataError, match="not a readable checkpoint"):
        load_model(tmp_path / "text.pt")
