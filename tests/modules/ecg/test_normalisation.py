"""Scaling to 0..1 and subtracting the means of leads: over real samples, and without losing what is small."""

from __future__ import annotations

import pytest
import torch

from cmelt_plugin.modules.ecg.normalisation import centred, min_max, normalise_ecg


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


@pytest.mark.parametrize("n_samples", [None, torch.tensor([40, 25, 1])])
def test_each_lead_has_mean_0_over_its_real_samples(n_samples: torch.Tensor | None) -> None:
    signal, found = ecg(), centred(ecg(), n_samples)
    for record, n in enumerate([40] * 3 if n_samples is None else n_samples.tolist()):
        for lead in range(12):
            real = signal[record, lead, :n].tolist()
            expected = [value - sum(real) / n for value in real] + [0.0] * (40 - n)
            torch.testing.assert_close(found[record, lead], torch.tensor(expected), rtol=0, atol=1e-6)
        assert not found[record, :, n:].any()


def test_a_constant_offset_of_each_lead_is_lost_and_nothing_else() -> None:
    signal, offsets = ecg(), torch.linspace(-5, 5, 12)[:, None]
    torch.testing.assert_close(centred(signal + offsets), centred(signal), rtol=0, atol=2e-6)
    torch.testing.assert_close(centred(signal).std(-1), signal.std(-1))
    torch.testing.assert_close(centred(2 * signal), 2 * centred(signal))


def test_centred_padding_of_any_length_and_value_changes_nothing() -> None:
    signal, n_samples = ecg()[..., :25] + 0.7, torch.full((3,), 25)
    for length, filling in ((26, 0.0), (40, 99.0), (400, float("nan"))):
        padded = torch.nn.functional.pad(signal, (0, length - 25), value=filling)
        found = centred(padded, n_samples)
        torch.testing.assert_close(found[..., :25], centred(signal), rtol=0, atol=1e-6)
        assert not found[..., 25:].any()
    assert torch.equal(centred(signal, torch.full((3,), 99)), centred(signal, n_samples))  # more than there are: all


def test_leads_without_a_signal_stay_zero_when_centred() -> None:
    signal = ecg() + 0.7
    signal[:, 6:], signal[0, 0] = 0.0, -1.3
    found = centred(signal, torch.tensor([40, 25, 0]))
    assert not found[:, 6:].any() and not found[2].any() and found.isfinite().all()
    assert found[0, 0].abs().max() < 1e-6 and found[0, 1].abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_means_are_subtracted_in_single_precision(dtype: torch.dtype) -> None:
    """A sum of 5,000 samples of 20 mV is beyond float16, and bfloat16 rounds their mean to 0.125 mV."""
    signal = (20 + torch.randn(2, 12, 5000, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = centred(signal, torch.tensor([5000, 2400]))
    assert found.dtype == dtype
    expected = centred(signal.double(), torch.tensor([5000, 2400]))
    assert expected.dtype == torch.float64
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-4)


def test_none_is_the_signal_itself_and_others_are_refused() -> None:
    signal = ecg()
    assert normalise_ecg(signal, None, "none") is signal
    assert torch.equal(normalise_ecg(signal, None, "min_max"), min_max(signal))
    assert torch.equal(normalise_ecg(signal, None, "centred"), centred(signal))
    with pytest.raises(ValueError, match="none, centred, min_max, not 'z_score'"):
        normalise_ecg(signal, None, "z_score")
