"""The convolution by way of frequencies is PyTorch's, to the rounding of float32."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cmelt_plugin.modules.ecg import conv_positions
from cmelt_plugin.modules.ecg.conv_positions import ConvPositionalEncoding
from cmelt_plugin.modules.ecg.long_convolution import long_convolution


def direct(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, padding: int, groups: int) -> torch.Tensor:
    right = max(0, weight.shape[-1] - 1 - padding)
    out = F.conv1d(F.pad(x.transpose(1, 2), (padding, right)), weight, bias, groups=groups)
    return out[..., : x.shape[1]].transpose(1, 2)


# Even and odd kernels and transforms, one piece and several, a kernel longer than the signal.
SIZES = [(312, 128, 2), (40, 7, 1), (41, 8, 4), (5, 16, 2), (1, 4, 1), (96, 64, 8)]


@pytest.mark.parametrize(("n_steps", "kernel", "groups"), SIZES)
def test_values_and_gradients_are_those_of_the_direct_convolution(n_steps: int, kernel: int, groups: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, n_steps, 8, requires_grad=True)
    weight = torch.randn(16, 8 // groups, kernel, requires_grad=True)
    bias = torch.randn(16, requires_grad=True)
    inputs = (x, weight, bias)
    exact = tuple(value.detach().double().requires_grad_() for value in inputs)
    expected = direct(*exact, kernel // 2, groups)
    gradient = torch.randn(expected.shape, dtype=torch.float64)
    out = long_convolution(*inputs, kernel // 2, groups)
    assert out.shape == expected.shape and out.dtype == torch.float32
    ours = [out, *torch.autograd.grad(out, inputs, gradient.float())]
    theirs = [expected, *torch.autograd.grad(expected, exact, gradient)]
    for value, reference in zip(ours, theirs):
        assert (value - reference).abs().max() <= 2e-6 * reference.abs().max().clamp(min=1)


def test_long_kernels_of_position_embeddings_go_by_frequencies(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return long_convolution(*arguments)

    monkeypatch.setattr(conv_positions, "long_convolution", counted)
    long, short = ConvPositionalEncoding(8, 64, 2), ConvPositionalEncoding(8, 16, 2)
    x = torch.randn(2, 100, 8)
    out = long(x)
    short(x)
    long.double()(x.double())
    assert len(calls) == 1
    torch.testing.assert_close(out, long(x.double()).float(), rtol=1e-5, atol=1e-5)
