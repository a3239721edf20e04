"""The ViT over time: sizes, and that a padded record is the record cut to its real samples."""

from __future__ import annotations

import pytest
import torch

from cmelt_plugin.modules.ecg.vit1d import VIT_SIZES, ViT1d

T = 1000


def tiny(**options) -> ViT1d:
    torch.manual_seed(0)
    return ViT1d(width=16, layers=2, heads=2, n_patches=20, **options)


def ecg(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 12, T, generator=torch.Generator().manual_seed(1))


def test_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        models = {name: ViT1d(12, *size) for name, size in VIT_SIZES.items()}
        assert models["tiny"](torch.zeros(2, 12, 5000)).shape == (2, 192)
    counts = {name: sum(parameter.numel() for parameter in model.parameters()) for name, model in models.items()}
    assert counts["tiny"] == 5_473_152  # 5.47 M
    assert sorted(counts, key=counts.get) == ["tiny", "small", "middle", "base"]
    assert models["tiny"].n_tokens(5000) == 100


@pytest.mark.parametrize("n", [700, 749, 51, 50])
def test_padded_is_cropped(n: int) -> None:
    """Value and gradient, whatever stands in the padding; samples that do not fill a patch are read by neither."""
    padded, cropped = tiny(), tiny()
    signal = ecg()
    garbage = signal.clone()
    garbage[..., n:] = float("inf")
    found, expected = padded(garbage, torch.full((3,), n)), cropped(signal[..., :n])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for model, out in ((padded, found), (cropped, expected)):
        (out * torch.arange(16.0)).sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    for (name, parameter), other in zip(padded.named_parameters(), cropped.parameters()):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_less_than_a_patch_is_one_patch() -> None:
    signal = ecg()
    short = tiny()(signal, torch.tensor([0, 20, 50]))
    signal[0], signal[1, :, 20:] = 0.0, 0.0
    torch.testing.assert_close(short, tiny()(signal[..., :50]), rtol=1e-5, atol=1e-5)


def test_signals_without_positions_are_refused() -> None:
    for n in (49, 1050):
        with pytest.raises(ValueError, match="50 to 1049"):
            tiny()(torch.zeros(1, 12, n))
    assert tiny()(torch.zeros(1, 12, 1049)).shape == (1, 16)
    with pytest.raises(TypeError, match="floating-point"):
        tiny()(torch.zeros(1, 12, T, dtype=torch.int16))


def test_recomputing_changes_no_gradient() -> None:
    plain, recomputed = tiny(dropout=0.3), tiny(dropout=0.3, recompute=True)
    for model in (plain, recomputed):
        torch.manual_seed(3)
        model(ecg()).square().sum().backward()
    for (name, parameter), other in zip(plain.named_parameters(), recomputed.named_parameters()):
        assert torch.equal(parameter.grad, other[1].grad), name
