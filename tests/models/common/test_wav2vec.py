"""The wav2vec-style encoder of every system that has it: what its options do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from cmelt_plugin import registry
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.common.wav2vec_options import Wav2VecOptions
from cmelt_plugin.modules.ecg.feature_extractor import DEFAULT, EXTRACTOR_MODES
from tests.systems.cases import CASES, plain_model

NAMES = ["cmelt", "melp", "echoing-wav2vec"]
SEEING = [*({"extractor_mode": mode} for mode in EXTRACTOR_MODES if mode != DEFAULT), {"amplitude_embedding": True}]
N = 5000


def beats(n: int) -> Tensor:
    """Something with peaks of about 1 mV in every lead, ``[n, 12, 5000]``."""
    torch.manual_seed(1)
    peaks = torch.exp(-((torch.arange(N) % 400 - 200.0) ** 2) / 200)
    return peaks * torch.randn(n, 12, 1) + 0.02 * torch.randn(n, 12, N)


def features(name: str, ecg: Tensor, n_samples: Tensor | None = None, **changes: Any) -> Tensor:
    with torch.no_grad():
        return plain_model(CASES[name], **changes).eval().ecg_features(ecg, n_samples, "mean")


def test_every_system_with_that_encoder_is_here() -> None:
    systems = {name for name, system in registry.systems().items() if issubclass(system.config_class(), Wav2VecOptions)}
    assert {CASES[name].system for name in NAMES} == systems
    for name in systems:
        config = registry.systems()[name].config_class()
        own = {field.name: field.default for field in dataclasses.fields(Wav2VecOptions)}
        assert config.encoder_additions.items() <= own.items() and set(config.wav2vec_sizes) <= set(own)
        assert set(config.encoder_additions) <= set(config.wav2vec_sizes) <= set(config.encoder_sizes)


@pytest.mark.parametrize("name", NAMES)
def test_who_tells_a_recording_from_its_double(name: str) -> None:
    """As a share of how far recordings are from each other; nothing has been learnt yet."""
    ecg = beats(4)

    def apart(**changes: Any) -> float:
        single, double = features(name, torch.cat([ecg, 2 * ecg]), **changes).split(4)
        return float((double - single).norm(dim=1).mean() / (single - single.roll(1, 0)).norm(dim=1).mean())

    assert apart() < 0.01
    for changes in SEEING:
        assert apart(**changes) > 0.05, changes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("changes", SEEING, ids=str)
def test_padding_and_missing_leads_say_nothing(name: str, changes: dict[str, Any]) -> None:
    ecg, n_samples = beats(2), torch.tensor([3210, N])
    padded = ecg.clone()
    padded[0, :, 3210:] = 7.0
    alone = features(name, ecg[:1, :, :3210], **changes)
    torch.testing.assert_close(features(name, padded, n_samples, **changes)[:1], alone, rtol=0, atol=1e-5)
    model = plain_model(CASES[name], **changes).eval()
    hidden = ecg.clone()
    hidden[:, 6:] = 0.0
    before = model.ecg_features(hidden)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    for key, value in weights.items():
        if key.endswith("feature_extractor.conv_layers.0.0.weight"):
            value[:, 6:] = 9.0  # of what a lead adds to the first convolution
        if key.endswith("amplitude.proj.weight"):
            value[:, 18:] = 9.0  # three numbers a lead
    model.load_state_dict(weights)
    assert torch.equal(model.ecg_features(hidden), before) and not torch.equal(model.ecg_features(ecg), features(name, ecg))


@pytest.mark.parametrize("changes", SEEING, ids=str)
def test_centred_leads_have_no_offset_and_keep_their_amplitudes(changes: dict[str, Any]) -> None:
    ecg, offsets = beats(2), torch.linspace(-1, 1, 12)[:, None]
    found, doubled, expected = features(
        "melp", torch.cat([ecg + offsets, 2 * ecg, ecg]), normalisation="centred", **changes
    ).split(2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(doubled, expected, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extractor_mode": "group_norm"}, "model.extractor_mode must be one of default, layer_norm, fixed"),
        ({"amplitude_embedding": True, "normalisation": "min_max"}, "model.normalisation=min_max removes the amplitudes"),
    ],
)
def test_unusable_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        plain_model(CASES["melp"], **changes)
