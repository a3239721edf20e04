"""ResNet-18 over time: sizes, and that a padded record is the record cut to its real samples."""

from __future__ import annotations

import pytest
import torch
from scipy.signal import resample_poly

from cmelt_plugin.modules.ecg.resnet1d import ResNet1d

N, T = 700, 1000


def tiny(seed: int = 0, **options) -> ResNet1d:
    torch.manual_seed(seed)
    model = ResNet1d(width=4, **options)
    for name, buffer in model.named_buffers():  # statistics of a model that has trained
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return model


def ecg(batch: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 12, T, generator=torch.Generator().manual_seed(seed))


def garbage_after(signal: torch.Tensor, n: int) -> torch.Tensor:
    signal = signal.clone()
    signal[..., n:] = float("nan")
    return signal


def test_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        model = ResNet1d()
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_848_832  # 3.85 M
    features, n_steps = model.to("meta")(torch.zeros(2, 12, 5000, device="meta"))
    assert features.shape == (2, 512, 313) and n_steps is None
    assert [model.n_tokens(n) for n in (5000, 3500, 2500, 1)] == [313, 219, 157, 1]
    assert len(model.blocks()) == 8


@pytest.mark.parametrize(
    ("n", "training"), [(N, True), (N + 1, True), (N + 15, True), (17, True), (N, False), (17, False), (1, False)]
)
@pytest.mark.parametrize("decimation", [1, 5])
def test_padded_is_cropped(n: int, training: bool, decimation: int) -> None:
    """In training batches whose records all have one length, with their gradients and running statistics."""
    n = min(n * decimation, T - 1)  # a handful of steps has statistics that rounding changes
    signal, n_samples = ecg(), torch.full((3,), n)
    cropped, padded = (tiny(decimation=decimation).train(training) for _ in range(2))
    found, n_steps = padded(garbage_after(signal, n), n_samples)
    expected, _ = cropped(signal[..., :n])
    assert n_steps.tolist() == [expected.shape[-1]] * 3 == [padded.n_tokens(n)] * 3
    torch.testing.assert_close(found[..., : expected.shape[-1]], expected, rtol=1e-4, atol=1e-4)
    assert not found[..., expected.shape[-1] :].any()
    found.square().mean(dim=(0, 1)).sum().backward()
    expected.square().mean(dim=(0, 1)).sum().backward()
    for (name, parameter), other in zip(padded.named_parameters(), cropped.parameters()):
        scale = other.grad.abs().max().clamp(min=1)
        torch.testing.assert_close(parameter.grad / scale, other.grad / scale, rtol=1e-3, atol=1e-4, msg=name)
    for (name, buffer), other in zip(padded.named_buffers(), cropped.buffers()):
        torch.testing.assert_close(buffer, other, rtol=1e-4, atol=1e-5, msg=name)


def test_a_record_does_not_depend_on_those_beside_it_in_evaluation() -> None:
    model, signal = tiny().eval(), ecg()
    together, n_steps = model(signal, torch.tensor([T, 700, 320]))
    for row, n in enumerate((T, 700, 320)):
        alone, _ = model(signal[row : row + 1, :, :n])
        torch.testing.assert_close(together[row : row + 1, :, : int(n_steps[row])], alone, rtol=1e-5, atol=1e-5)


def test_records_of_no_samples_change_nothing_for_the_others() -> None:
    """So that a batch repeated on a rank that ran out of records can be left out of everything."""
    model, other = tiny(), tiny()
    signal = ecg()
    found, _ = model(signal, torch.tensor([T, T, 0]))
    expected, _ = other(signal[:2])
    torch.testing.assert_close(found[:2], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.bn1.running_var, other.bn1.running_var)
    assert not found[2].any()


@pytest.mark.parametrize("n_samples", [None, [T, 700, 320]])
def test_recomputing_changes_neither_gradients_nor_statistics(n_samples) -> None:
    models = [tiny(recompute=recompute) for recompute in (False, True)]
    n_samples = None if n_samples is None else torch.tensor(n_samples)
    for model in models:
        model(ecg(), n_samples)[0].square().mean().backward()
    plain, recomputed = models
    for (name, parameter), other in zip(plain.named_parameters(), recomputed.parameters()):
        assert torch.equal(parameter.grad, other.grad), name
    for name, value in plain.state_dict().items():
        assert torch.equal(value, recomputed.state_dict()[name]), name


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="floating-point"):
        tiny()(torch.zeros(1, 12, T, dtype=torch.int16))


def test_stages_have_the_multiples_of_the_stem_that_are_asked_for() -> None:
    """EchoingECG's: the first stage has twice the channels of the stem, and reads it through a 1×1 convolution."""
    network = ResNet1d(12, 4, (1, 2, 1, 1), factors=(2, 4, 8, 16))
    assert [block.conv2.out_channels for block in network.blocks()] == [8, 16, 16, 32, 64] and network.dim == 64
    assert [len(block.shortcut) for block in network.blocks()] == [2, 2, 0, 2, 2]
    assert network(torch.randn(1, 12, 1000))[0].shape == (1, 64, 63) and network.n_tokens(1000) == 63


def test_a_lower_rate_is_the_same_network_on_decimated_recordings() -> None:
    signal = ecg()
    decimated = torch.from_numpy(resample_poly(signal.double().numpy(), 1, 5, axis=-1)).float()
    model, slow = tiny().eval(), tiny(decimation=5).eval()
    assert list(model.state_dict()) == list(slow.state_dict())
    torch.testing.assert_close(slow(signal)[0], model(decimated)[0], rtol=1e-4, atol=1e-5)
    assert slow.samples_per_token == 80 and [slow.n_tokens(n) for n in (5000, 4999, 1)] == [63, 63, 1]
