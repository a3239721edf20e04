"""Scaling to 0..1: over real samples of all leads, and without losing what is small."""

from __future__ import annotations

import pytest
import torch

from cmelt_plugin.modules.ecg.normalisation import min_max, normalise_ecg


def ecg() -> torch.Tensor:
    return torch.randn(3, 12, 40, generator=torch.Generator().manual_seed(0))


def test_one_scale_for_all_leads_of_a_record() -> None:
    signal = ecg()
    scaled = min_max(signal)
    for row, expected in zip(scaled, signal):
        assert row.min() == 0 and row.max() == 1
        torch.testing.assert_close(row, (expected - expected.min()) / (expected.max() - expected.min()))


def test_padding_takes_no_part_and_becomes_zero() -> None:
    signal = ecg()
    padded = signal.clone()
    padded[..., 25:] = 99.0
    scaled = min_max(padded, torch.full((3,), 25))
    torch.testing.assert_close(scaled[..., :25], min_max(signal[..., :25]))
    assert not scaled[..., 25:].any()


def test_flat_and_empty_records_become_zero() -> None:
    signal = ecg()
    signal[0] = 0.7
    assert not min_max(signal)[0].any()
    assert not min_max(signal, torch.tensor([40, 40, 0]))[2].any()
    assert min_max(signal, torch.tensor([40, 40, 0])).isfinite().all()


def test_small_deflections_survive() -> None:
    """The release rounds to thousandths afterwards (about 10 bits), in which 2 µV beside a spike of 5 mV are lost."""
    signal = torch.zeros(1, 12, 40)
    signal[0, 0, 3] = 5.0
    signal[0, 1, 7] = 0.002
    scaled = min_max(signal)
    assert scaled[0, 1, 7] == pytest.approx(0.0004) and torch.round(scaled[0, 1, 7] * 1000) == 0


def test_none_is_the_signal_itself_and_others_are_refused() -> None:
    signal = ecg()
    assert normalise_ecg(signal, None, "none") is signal
    assert torch.equal(normalise_ecg(signal, None, "min_max"), min_max(signal))
    with pytest.raises(ValueError, match="none, min_max"):
        normalise_ecg(signal, None, "z_score")
