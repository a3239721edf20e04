"""Noise of a known power, and leads that are gone."""

import pytest
import torch

from cmelt_plugin.evaluation.uncertainty.disturbances import with_noise, without_leads


def test_noise_has_the_power_asked_for_and_none_beyond_the_record() -> None:
    generator = torch.Generator().manual_seed(0)
    ecg = torch.randn(2, 12, 4000, generator=generator) * torch.tensor([0.2, 3.0])[:, None, None] + 5  # an offset is no power
    ecg[1, :, 2500:] = 0
    noise = torch.randn(2, 12, 4000, generator=generator)
    added = with_noise(ecg, noise, 10.0, torch.tensor([4000, 2500])) - ecg
    assert added[0].std().item() == pytest.approx(0.2 / 10**0.5, rel=0.02)
    assert added[1, :, :2500].std().item() == pytest.approx(3 / 10**0.5, rel=0.02) and not added[1, :, 2500:].any()
    quieter = with_noise(ecg, noise, 30.0) - ecg
    assert torch.allclose(quieter[0] * 10, added[0], atol=1e-4)  # the same noise


def test_leads_are_lost_in_the_order_given() -> None:
    ecg = torch.ones(2, 12, 5)
    order = torch.stack([torch.arange(12), torch.arange(12).flip(0)])
    for count in (1, 4, 12):
        left = without_leads(ecg, order, count)
        assert not left[0, :count].any() and (left[0, count:] == 1).all()
        assert not left[1, 12 - count :].any() and (left[1, : 12 - count] == 1).all()
