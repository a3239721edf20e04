"""Amplitudes as an embedding, and which encoders can tell a recording from its double."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cmelt_plugin.modules.ecg.amplitude import FLOOR, MIDDLE, STATISTICS, AmplitudeEmbedding, log_amplitudes
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.ecg.feature_extractor import DEFAULT, EXTRACTOR_MODES, LAYER_NORM, ConvStack

CONV = [(16, 2, 2)] * 4
SIZES = {"dim": 16, "layers": 2, "heads": 2, "ffn_dim": 32, "conv_pos": 8, "conv_pos_groups": 2}
OPTIONS = [(mode, 0) for mode in EXTRACTOR_MODES] + [(DEFAULT, 80)]
SEEING = OPTIONS[1:]
"""Modes of the convolutions and windows of the embedding with which an encoder sees amplitudes."""


def encoder(mode: str, window: int, **changes: Any) -> ECGEncoder:
    torch.manual_seed(0)
    return ECGEncoder(ConvStack(CONV, 12, mode), CONV, amplitude_window=window, **{**SIZES, **changes}).eval()


def beats(n: int, length: int = 480) -> Tensor:
    """Something with peaks of about 1 mV in every lead, ``[n, 12, length]``."""
    peaks = torch.exp(-((torch.arange(length) % 80 - 40.0) ** 2) / 20)
    return peaks * torch.randn(n, 12, 1) + 0.02 * torch.randn(n, 12, length)


def logarithm(mv: float) -> float:
    return math.log((mv + FLOOR) / (MIDDLE + FLOOR))


def test_the_numbers_are_logarithms_of_millivolts() -> None:
    ecg = torch.zeros(1, 2, 400)
    ecg[0, 0, 50::100] = 1.0  # in each window of 100 one sample of 1 mV: highest 0.99 above the mean, lowest 0.01 below it
    expected = [logarithm(0.99), logarithm(0.01), logarithm(math.sqrt(0.01 * 0.99))]
    torch.testing.assert_close(log_amplitudes(ecg, window=100)[0], torch.tensor([expected, [0.0] * STATISTICS]))
    torch.testing.assert_close(log_amplitudes(ecg + 0.4, window=100), log_amplitudes(ecg, window=100))  # an offset
    ecg[0, 0, 100:] = 0.0  # flat stretches say nothing
    torch.testing.assert_close(log_amplitudes(ecg, window=100)[0, 0], torch.tensor(expected))


def test_one_spike_moves_them_little() -> None:
    ecg = beats(1, 5000)
    spiked = ecg.clone()
    spiked[0, :, 2000] = 20.0
    moved = (log_amplitudes(spiked) - log_amplitudes(ecg)).abs()
    assert moved.max() < 1 and moved.max() > 0.1


@given(length=st.integers(1, 480), seed=st.integers(0, 99))
def test_padding_changes_nothing(length: int, seed: int) -> None:
    torch.manual_seed(seed)
    ecg = beats(2)
    n_samples = torch.tensor([length, 480])
    padded = log_amplitudes(ecg, n_samples, 80)  # whatever stands in the padding
    torch.testing.assert_close(padded[0], log_amplitudes(ecg[:1, :, :length], None, 80)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(padded[1], log_amplitudes(ecg[1:], None, 80)[0], rtol=0, atol=1e-5)


def test_a_record_of_nothing_says_nothing() -> None:
    assert not log_amplitudes(beats(1), torch.tensor([0]), 80).any()


@given(hidden=st.sets(st.integers(0, 11)), value=st.floats(-1, 1, width=16))
def test_a_lead_without_a_signal_adds_nothing(hidden: set[int], value: float) -> None:
    torch.manual_seed(0)
    embedding, ecg = AmplitudeEmbedding(12, 16, 80), beats(1)
    ecg[:, list(hidden)] = value
    found = embedding(ecg)
    with torch.no_grad():
        for lead in hidden:
            embedding.proj.weight[:, STATISTICS * lead : STATISTICS * (lead + 1)] = 99.0
    assert torch.equal(embedding(ecg), found) and found.any() == (len(hidden) < 12)


@pytest.mark.parametrize(("mode", "window"), SEEING)
@pytest.mark.parametrize("masked", [False, True])
def test_a_padded_record_is_encoded_as_the_record_cut(mode: str, window: int, masked: bool) -> None:
    model = encoder(mode, window, masked_tokens_in_positions=False)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    lengths = [480, 470, 333, 64, 40]
    ecg, noise = beats(len(lengths)), torch.randint(0, 2**31, (len(lengths), model.n_tokens(480)))
    options: dict[str, Any] = {"mask_noise": noise, "mask_ratio": 0.75} if masked else {}
    padded = model(ecg, torch.tensor(lengths), **options)
    for row, length in enumerate(lengths):
        if masked:
            options["mask_noise"] = noise[row : row + 1, : model.n_tokens(length)]
        alone = model(ecg[row : row + 1, :, :length], **options).states[0]
        torch.testing.assert_close(padded.states[row, : len(alone)], alone, rtol=0, atol=1e-5)


def test_the_embedding_is_added_to_every_token() -> None:
    with_it, without = encoder(DEFAULT, 80, layers=0), encoder(DEFAULT, 0, layers=0)
    without.load_state_dict({name: value for name, value in with_it.state_dict().items() if "amplitude" not in name})
    with_it.encoder, without.encoder, ecg = nn.Identity(), nn.Identity(), beats(2)
    for one in (with_it, without):
        one.encoder.forward = lambda x, padding: x
    added = with_it(ecg).states - without(ecg).states
    torch.testing.assert_close(added, with_it.amplitude(ecg).unsqueeze(1).expand_as(added))


def scaled_apart(model: ECGEncoder, ecg: Tensor) -> float:
    """How far the features of recordings are from those of their doubles, as a share of how far they are from each other's."""
    with torch.no_grad():
        single, double = model.features(ecg), model.features(2 * ecg)
    return float((double - single).norm(dim=1).mean() / (single - single.roll(1, 0)).norm(dim=1).mean())


def test_who_tells_a_recording_from_its_double_at_the_start() -> None:
    """In the default mode the group norm removes the factor, all but its epsilon."""
    torch.manual_seed(1)
    ecg = beats(16)
    assert scaled_apart(encoder(DEFAULT, 0), ecg) < 0.01
    for mode, window in SEEING:
        assert scaled_apart(encoder(mode, window), ecg) > 0.1, (mode, window)
    unbiased = encoder(LAYER_NORM, 0)  # why its convolutions have biases
    for layer in unbiased.feature_extractor.conv_layers:
        nn.init.zeros_(layer[0].bias)
    assert scaled_apart(unbiased, ecg) < 0.01


@pytest.mark.parametrize(("mode", "window"), OPTIONS)
def test_who_learns_amplitudes_in_a_few_steps(mode: str, window: int) -> None:
    """High or low voltage, 0.7 or 1.4 mV with the same shapes: chance is ln 2."""
    model = encoder(mode, window)
    head = nn.Linear(16, 1)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], 3e-3)
    for _ in range(60):
        high = torch.arange(32) % 2
        ecg = beats(16).repeat_interleave(2, 0) * (0.7 + 0.7 * high)[:, None, None]
        logits = head(model.features(ecg)).squeeze(-1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, high.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    if (mode, window) == OPTIONS[0]:
        assert abs(float(loss.detach()) - math.log(2)) < 0.05
    else:
        assert float(loss.detach()) < 0.4
