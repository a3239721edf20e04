"""The key map of EchoingECG's published weights: strict both ways. Weights here are random, their names are the release's."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_echo import release_weights, tiny_echoing
from torch import Tensor

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.echoing.model import EchoingECG
from cmelt_plugin.models.echoing.released import UNUSED, convert, our_settings
from cmelt_plugin.models.inference.pretrained import load_pretrained

STATISTICS = {lead: [0.01 * number, 0.1 + 0.01 * number] for number, lead in enumerate(LEADS)}


@pytest.fixture(scope="module")
def model() -> EchoingECG:
    statistics = json.dumps([[STATISTICS[lead][part] for lead in LEADS] for part in (0, 1)])
    return tiny_echoing(lead_statistics=statistics).eval()


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return release_weights()


def test_every_weight_of_ours_is_set_and_every_one_of_theirs_is_used(model, weights) -> None:
    ours, same = model.state_dict(), convert(weights)
    assert set(same) == set(ours) and all(torch.equal(same[name], ours[name]) for name in ours)
    for name in set(weights) - set(UNUSED):
        assert set(convert({key: value for key, value in weights.items() if key != name})) != set(ours)
        changed = convert({**weights, name: weights[name] + 1})
        assert any(not torch.equal(changed[key], same[key]) for key in same), f"{name} has no effect"


def test_unknown_and_missing_weights_are_refused(weights) -> None:
    for name in (
        "ecg_encoder.layer5.0.conv1.weight",
        "ecg_encoder.gpool.bias",
        "text_encoder.var_linear.weight",
        "echo.weight",
    ):
        with pytest.raises(DataError, match=f"does not know: {name}"):
            convert({**weights, name: torch.zeros(2)})
    for name in ("ecg_encoder.conv1.weight", "text_encoder.backbone.embeddings.word_embeddings.weight"):
        with pytest.raises(DataError, match=f"lack {name}"):
            our_settings({key: value for key, value in weights.items() if key != name}, {"lead_statistics": STATISTICS})


@pytest.mark.parametrize("config", [None, {}, {"lead_statistics": {"I": [0, 1]}}, {"lead_statistics": [0.1] * 12}])
def test_nothing_is_guessed_of_how_leads_were_standardised(weights, config) -> None:
    with pytest.raises(DataError, match=r"config.json .* must give lead_statistics"):
        our_settings(weights, config)


def test_a_folder_is_opened_like_any_other_model(model, weights, tmp_path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, tmp_path / "model.safetensors")
    config = {"lead_statistics": STATISTICS, "text_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    opened = load_pretrained(tmp_path).model
    assert (opened.cfg.ecg_width, opened.cfg.ecg_blocks, opened.cfg.embed_dim) == (2, "1, 2, 1, 1", 16)
    ecg, ids = torch.randn(2, 12, 5000, generator=torch.Generator().manual_seed(1)), torch.tensor([[2, 5, 6, 3]])
    with torch.no_grad():
        for one, other in ((opened.embed_ecg(ecg), model.embed_ecg(ecg)), (opened.embed_text(ids), model.embed_text(ids))):
            assert torch.equal(one.mean, other.mean) and torch.equal(one.log_variance, other.log_variance)
