"""Every system's published weights open in the same way: found by their names, in the order of leads of their training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_echo import release_weights as echoing_weights
from tiny_melp import release_weights as melp_weights
from tiny_merl import release_weights as merl_weights
from torch import Tensor

from cmelt_plugin import load_pretrained, registry
from cmelt_plugin.data.leads import LEADS, MIMIC_IV_ECG_LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.released import is_released, leads_of_training, load_released
from tests.models import release_layout

# System → weights, config.json, the order of leads where none is given.
RELEASES = {
    "cmelt": (release_layout.release_weights, release_layout.CONFIG, LEADS),
    "echoing_ecg": (echoing_weights, {"text_heads": 4, "lead_statistics": dict.fromkeys(LEADS, [0.0, 0.3])}, LEADS),
    "melp": (melp_weights, {"ecg_heads": 4, "text_heads": 4, "attn_pooler_heads": 4}, MIMIC_IV_ECG_LEADS),
    "merl": (lambda: merl_weights("resnet18"), {"text_heads": 4}, MIMIC_IV_ECG_LEADS),
}


def test_every_system_with_published_weights_is_here() -> None:
    assert set(RELEASES) == {name for name, system in registry.systems().items() if system.released is not None}


@pytest.fixture(params=sorted(RELEASES))
def release(request, tmp_path: Path) -> tuple[str, dict[str, Tensor], Path]:
    """A system, its weights, and the folder that holds them."""
    weights, config, _ = RELEASES[request.param]
    tensors = {name: tensor.clone().contiguous() for name, tensor in weights().items()}
    save_file(tensors, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return request.param, tensors, tmp_path


def test_they_open_as_models_of_their_system(release) -> None:
    name, weights, folder = release
    system = registry.systems()[name]
    assert is_released(folder) and is_released(folder / "weights.safetensors")
    opened = load_pretrained(folder)
    assert type(opened.model) is system.model_class() and not opened.model.training
    assert opened.cfg["model"]["_name"] == name
    expected = registry.importlib.import_module(system.released).convert(weights, RELEASES[name][2])
    state = opened.model.state_dict()
    assert set(state) == set(expected) and all(torch.equal(state[key], expected[key]) for key in state)


def test_leads_are_taken_in_the_order_that_is_named(release) -> None:
    name, _, folder = release
    usual = RELEASES[name][2]
    other = "standard" if usual is MIMIC_IV_ECG_LEADS else "mimic-iv-ecg"
    assert leads_of_training(folder) == usual != leads_of_training(folder, other)
    models = [load_released(folder, order).model for order in (None, other)]
    ecg = torch.randn(2, 12, 5000)
    first, second = (model.embed_ecg(ecg[:, columns]).mean for model, columns in zip(models, (list(range(12)), swapped())))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    states = [model.state_dict() for model in models]
    assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])


def swapped() -> list[int]:
    """Columns that exchange aVL and aVF."""
    return [MIMIC_IV_ECG_LEADS.index(lead) for lead in LEADS]


def test_a_file_of_no_system_is_refused_by_name(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert not is_released(tmp_path)
    for function in (load_released, leads_of_training):
        with pytest.raises(
            DataError,
            match="other.safetensors: not the published weights of cmelt or ecg_fm or .* or melp or merl",
        ):
            function(tmp_path / "other.safetensors")
