"""Recordings that are none: each is what its name says, the same every time, and zero where there is no sample."""

import numpy as np
import pytest
import torch

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.limb_leads import COEFFICIENTS
from cmelt_plugin.evaluation.uncertainty.foreign import FOREIGN, foreign_recordings


def ecgs(n=3, samples=400):
    """Recordings whose limb leads are those of two electrodes."""
    one, two, *chest = torch.randn(8, n, samples, generator=torch.Generator().manual_seed(0))
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return torch.stack([*limbs, *chest], dim=1) * 0.3


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_record_is_changed_in_its_own_way_whatever_its_batch(kind) -> None:
    ecg, n_samples = ecgs(), torch.tensor([400, 250, 400])
    ecg[1, :, 250:] = 0
    made = foreign_recordings(ecg, kind, 5, [10, 11, 12], n_samples)
    assert made.shape == ecg.shape and torch.isfinite(made).all() and not made[1, :, 250:].any()
    assert all(not torch.equal(a, b) for a, b in zip(made, ecg))
    alone = foreign_recordings(ecg[1:2], kind, 5, [11], n_samples[1:2])
    assert torch.allclose(alone[0], made[1], atol=1e-5)
    if kind in ("noise", "lost_leads", "shuffled_leads", "non_ecg"):
        assert not torch.equal(foreign_recordings(ecg, kind, 6, [10, 11, 12], n_samples), made)


def test_exchanged_arms_keep_the_relations_of_the_limb_leads_and_two_electrodes_tell() -> None:
    ecg = ecgs()
    made = foreign_recordings(ecg, "swapped_electrodes", 0, range(3))
    left = torch.from_numpy(COEFFICIENTS).float() @ made[:, :6]
    assert left.abs().max() < 1e-5
    place = {lead: row for row, lead in enumerate(LEADS)}
    assert torch.equal(made[:, place["I"]], -ecg[:, place["I"]])
    assert torch.equal(made[:, place["II"]], ecg[:, place["III"]])
    assert torch.equal(made[:, place["aVR"]], ecg[:, place["aVL"]])
    assert torch.equal(made[:, place["aVF"]], ecg[:, place["aVF"]]) and torch.equal(made[:, 6:], ecg[:, 6:])


def test_sizes_rates_and_leads() -> None:
    ecg = ecgs()
    assert torch.equal(foreign_recordings(ecg, "gain_x1000", 0, range(3)), ecg * 1000)
    fast = foreign_recordings(ecg, "double_rate", 0, range(3))
    assert torch.equal(fast[:, :, :200], ecg[:, :, ::2]) and torch.equal(fast[:, :, 200:], fast[:, :, :200])
    lost = foreign_recordings(ecg, "lost_leads", 0, range(3))
    assert ((lost == 0).all(dim=2).sum(dim=1) == 6).all()
    shuffled = foreign_recordings(ecg, "shuffled_leads", 0, range(3))
    assert torch.equal(shuffled.sum(dim=2).sort().values, ecg.sum(dim=2).sort().values)
    noise = foreign_recordings(ecg, "noise", 0, range(3)) - ecg
    assert noise.std().item() == pytest.approx(ecg.std().item(), rel=0.1)


def test_hearts_missing_have_power_that_falls_with_the_frequency() -> None:
    made = foreign_recordings(ecgs(2, 5000), "non_ecg", 0, range(2)).numpy()
    assert made.std(axis=2) == pytest.approx(np.full((2, 12), 0.3), rel=1e-3)
    power = (np.abs(np.fft.rfft(made, axis=2)) ** 2).mean(axis=(0, 1))
    assert power[10:20].mean() / power[100:200].mean() == pytest.approx(10, rel=0.3)
