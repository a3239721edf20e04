"""What hiding a part changes, on an uncertainty that is known of every sample."""

import numpy as np
import pytest
import torch

from cmelt_plugin.evaluation.variance_map.occlusion import hidden, occlusion_map, windows

WEIGHT = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))


def uncertainty(batch):
    """A sum over samples: what hiding a window takes away is the sum over it."""
    return (batch * WEIGHT).sum(dim=(1, 2))


def test_windows_cover_the_recording_to_its_end() -> None:
    assert windows(100, 30, 20).tolist() == [0, 20, 40, 60, 70]
    assert windows(100, 20, 20).tolist() == [0, 20, 40, 60, 80]
    assert windows(20, 30, 5).tolist() == [0]


def test_the_map_is_the_mean_change_of_the_windows_over_a_sample() -> None:
    ecg = torch.rand(3, 100, generator=torch.Generator().manual_seed(1))
    part = (ecg * WEIGHT).numpy().astype(np.float64)
    for per_lead in (True, False):
        found = occlusion_map(uncertainty, ecg, 30, 20, per_lead=per_lead, batch_size=4)
        assert found.shape == (3, 100) and found.dtype == np.float32
        for lead in range(3):
            rows = [lead] if per_lead else [0, 1, 2]
            for sample in (0, 25, 50, 65, 99):
                over = [start for start in (0, 20, 40, 60, 70) if start <= sample < start + 30]
                expected = np.mean([part[rows, start : start + 30].sum() for start in over])
                assert found[lead, sample] == pytest.approx(expected, abs=1e-4)


def test_a_record_shorter_than_a_window_is_hidden_whole() -> None:
    ecg = torch.rand(3, 100)
    found = occlusion_map(uncertainty, ecg, 500, 125)
    assert found == pytest.approx(np.repeat((ecg * WEIGHT).sum(1).numpy()[:, None], 100, axis=1), abs=1e-4)


def test_fills() -> None:
    ecg = torch.arange(10.0).repeat(2, 1) ** 2
    leads = torch.tensor([True, False])
    zero = hidden(ecg, leads, 2, 5)
    assert zero[0].tolist() == [0, 1, 0, 0, 0, 25, 36, 49, 64, 81] and torch.equal(zero[1], ecg[1])
    assert hidden(ecg, leads, 2, 5, "line")[0, 1:6].tolist() == [1, 7, 13, 19, 25]
    assert hidden(ecg, leads, 0, 3, "line")[0, :4].tolist() == [9, 9, 9, 9]
    assert hidden(ecg, leads, 8, 10, "line")[0, 7:].tolist() == [49, 49, 49]
    assert not hidden(ecg, leads, 0, 10, "line")[0].any()
    straight = torch.arange(20.0).repeat(3, 5) / 20
    straight = torch.linspace(0, 1, 100).repeat(3, 1)
    inner = occlusion_map(uncertainty, straight, 20, 20, "line")[:, 20:80]  # a line is its own interpolation
    assert np.abs(inner).max() < 1e-4
    with pytest.raises(ValueError, match="fill 'mean' must be one of zero, line"):
        occlusion_map(uncertainty, ecg, fill="mean")
