"""Filtering and resampling on batches: what SciPy does to one recording after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import butter, resample_poly, sosfiltfilt

from cmelt_plugin.modules.ecg.band_pass import BandPass


def recordings(rows: int = 2, samples: int = 5000) -> torch.Tensor:
    """Slow drift, an offset, and noise: what the ends of a filter show."""
    generator = torch.Generator().manual_seed(0)
    seconds = torch.arange(samples) / 500
    phase = torch.rand(rows, 12, 1, generator=generator)
    drift = (2 * torch.pi * (0.3 * seconds + phase)).sin() + 5 * phase
    return drift + 0.2 * torch.randn(rows, 12, samples, generator=generator)


def scipy_way(ecg: np.ndarray) -> np.ndarray:
    filtered = sosfiltfilt(butter(4, [0.5, 40], "bandpass", fs=500, output="sos"), ecg.astype(np.float64))
    return resample_poly(filtered, 1, 5, axis=-1, padtype="median")


@pytest.mark.parametrize("samples", [5000, 4999, 4996, 500, 31])
def test_it_is_what_scipy_computes(samples: int) -> None:
    ecg = recordings(samples=samples)
    expected = torch.from_numpy(scipy_way(ecg.numpy()))
    torch.testing.assert_close(BandPass(500, 100)(ecg).double(), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(BandPass(500, 100)(ecg.double()), expected, rtol=0, atol=1e-9)


def test_padding_changes_nothing() -> None:
    ecg, n_samples = recordings(4), torch.tensor([5000, 2403, 31, 0])
    for row, real in enumerate(n_samples):
        ecg[row, :, real:] = 7.0
    found = BandPass(500, 100)(ecg, n_samples)
    for row, real in enumerate(n_samples[:3].tolist()):
        alone = BandPass(500, 100)(ecg[row : row + 1, :, :real])[0]
        torch.testing.assert_close(found[row, :, : alone.shape[-1]], alone, rtol=0, atol=1e-5)
        assert not found[row, :, alone.shape[-1] :].any()
    assert BandPass(500, 100).n_steps(n_samples).tolist() == [1000, 481, 7, 0] and not found[3].any()


def test_it_passes_the_band_and_nothing_else() -> None:
    seconds = torch.arange(5000) / 500
    tones = torch.stack([(2 * torch.pi * hertz * seconds).sin() for hertz in (0.1, 10.0, 60.0)])
    middle = BandPass(500, 100)(tones[None])[0, :, 300:700]
    assert middle[[0, 2]].abs().max() < 0.02
    torch.testing.assert_close(middle[1], tones[1, ::5][300:700], rtol=0, atol=0.01)


def test_only_whole_ratios_of_rates() -> None:
    with pytest.raises(ValueError, match="360 Hz do not divide 500 Hz"):
        BandPass(500, 360)


def test_released_preprocessing(real_data: Path) -> None:
    path = real_data / "reference" / "echoing_tiny" / "case.safetensors"
    if not path.is_file():
        pytest.skip(f"no released numbers at {path}")
    from safetensors.torch import load_file

    case = load_file(path)
    found = BandPass(500, 100)(case["preprocess_raw500"][None])[0]
    torch.testing.assert_close(found, case["preprocess_at100"], rtol=0, atol=1e-5)
