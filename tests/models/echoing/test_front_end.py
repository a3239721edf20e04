"""What is done to an ECG before the encoder reads it, and what is measured on training recordings for it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.echoing.front_end import FrontEnd, lead_statistics
from cmelt_plugin.modules.ecg.band_pass import BandPass
from cmelt_plugin.modules.ecg.normalisation import centred, min_max


def recordings(rows: int = 3, seed: int = 0) -> Tensor:
    """Leads of different amplitude, 12 · 10 s."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 12, 5000, generator=generator) * torch.arange(1, 13)[:, None] / 20


def test_statistics_are_those_of_all_real_samples() -> None:
    ecg, n_samples = recordings(), torch.tensor([5000, 2400, 5000])
    band_pass = BandPass(500, 100)
    real = [band_pass(ecg[row : row + 1, :, :n])[0] for row, n in enumerate(n_samples.tolist())]
    joined = torch.cat(real, dim=1).double()
    mean, deviation = json.loads(lead_statistics([(ecg[:2], n_samples[:2]), (ecg[2:], None)]))
    torch.testing.assert_close(torch.tensor(mean), joined.mean(1).float(), rtol=0, atol=2e-6)
    torch.testing.assert_close(torch.tensor(deviation), joined.std(1, correction=0).float(), rtol=0, atol=2e-6)


def test_standardised_leads_have_mean_0_and_deviation_1() -> None:
    front_end = FrontEnd("standardised", lead_statistics([(recordings(), None)]))
    found, n_samples = front_end(recordings())
    assert found.shape == (3, 12, 1000) and n_samples is None and front_end.step == 5
    torch.testing.assert_close(found.mean((0, 2)), torch.zeros(12), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.std((0, 2), correction=0), torch.ones(12), rtol=0, atol=1e-4)


def test_padding_is_zero_although_the_mean_is_not() -> None:
    front_end = FrontEnd("standardised", json.dumps([[1.0] * 12, [2.0] * 12]))
    found, n_samples = front_end(recordings(), torch.tensor([5000, 2400, 12]))
    assert n_samples is not None and n_samples.tolist() == [1000, 480, 3]
    assert not found[1, :, 480:].any() and not found[2, :, 3:].any() and found[0, :, 999].all()


def test_without_statistics_filtered_ecgs_stay_in_mv() -> None:
    for nothing in (None, "[[], []]"):
        assert torch.equal(FrontEnd("standardised", nothing)(recordings())[0], BandPass(500, 100)(recordings()))


def test_other_normalisations_keep_the_rate() -> None:
    ecg = recordings()
    assert FrontEnd("none")(ecg)[0] is ecg and FrontEnd("none").step == 1
    assert torch.equal(FrontEnd("min_max")(ecg)[0], min_max(ecg)) and torch.equal(FrontEnd("centred")(ecg)[0], centred(ecg))
    with pytest.raises(DataError, match="model.normalisation must be one of none, centred, min_max and standardised, not 'z'"):
        FrontEnd("z")


WRONG = ([[0] * 12, [0] * 12], [[0] * 12, [float("inf")] * 12], [[1], [2]], [])


@pytest.mark.parametrize("text", ["", "{", *map(json.dumps, WRONG)])
def test_statistics_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="model.lead_statistics must be JSON of 12 means and 12 positive standard deviations"):
        FrontEnd("standardised", text)


def test_a_lead_that_is_flat_everywhere_cannot_be_standardised() -> None:
    flat = recordings()
    flat[:, 4] = 0.7
    with pytest.raises(DataError, match="lead aVL is flat in all training recordings"):
        lead_statistics([(flat, None)])
