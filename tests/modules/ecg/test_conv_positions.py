"""Relative positions by a convolution, in the precisions that training and serving take."""

from __future__ import annotations

import pytest
import torch

from cmelt_plugin.modules.ecg.conv_positions import ConvPositionalEncoding


@pytest.mark.parametrize(("dim", "groups"), [(8, 2), (16, 2), (64, 8), (32, 2), (128, 8)])
@pytest.mark.parametrize("kernel", [8, 9, 16])
def test_bfloat16_is_near_float32_however_narrow_groups_are(dim: int, groups: int, kernel: int) -> None:
    """With AMX, PyTorch's own convolution is off by as much as its sums are large: groups under 16, even kernels."""
    torch.manual_seed(0)
    positions, x = ConvPositionalEncoding(dim, kernel, groups), torch.randn(2, 40, dim)
    with torch.no_grad():
        expected = positions(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = [positions(x), positions(x.bfloat16())]
        found.append(positions.bfloat16()(x.bfloat16()))
    for one in found:
        torch.testing.assert_close(one.float(), expected, rtol=0.05, atol=0.02 * float(expected.abs().max()))


def test_narrow_groups_in_float32_are_the_convolution_itself() -> None:
    positions, x = ConvPositionalEncoding(16, 8, 2), torch.randn(2, 40, 16)
    conv, activation = positions.pos_conv[0], positions.pos_conv[1]
    expected = activation(conv(x.transpose(1, 2))[..., :-1]).transpose(1, 2)
    assert torch.equal(positions(x), expected) and positions.double()(x.double()).dtype == torch.float64
