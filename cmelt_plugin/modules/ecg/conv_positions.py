"""Relative positions from a convolution over time, for the ECG encoder and the decoder of masked ECG modelling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.modules.ecg.long_convolution import long_convolution

LONG = 64
"""Steps of a kernel from which frequencies are faster on a CPU."""
NARROW = 16
"""Channels a group below which PyTorch's bfloat16 kernels for CPUs with AMX give wrong sums where a kernel is even (2.13)."""


class ConvPositionalEncoding(nn.Module):
    """A grouped convolution over time with GELU, to be added to its input (wav2vec 2.0, Baevski et al. 2020)."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, mean=0.0, std=(4.0 / (kernel * dim)) ** 0.5)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        conv = nn.utils.parametrizations.weight_norm(conv, name="weight", dim=2)
        self.pos_conv = nn.Sequential(conv, nn.GELU())
        self.trim = 1 - kernel % 2  # an even kernel yields one step too many

    def forward(self, x: Tensor) -> Tensor:
        """``[B, N, D]`` → ``[B, N, D]``."""
        layers: Any = self.pos_conv
        conv, activation = layers
        if conv.kernel_size[0] >= LONG and x.device.type == "cpu" and x.dtype == conv.bias.dtype == torch.float32:
            return activation(long_convolution(x, conv.weight, conv.bias, conv.padding[0], conv.groups))
        x = x.transpose(1, 2)
        if x.device.type == "cpu" and x.dtype != torch.float64 and conv.weight.shape[1] < NARROW:
            with torch.autocast("cpu", enabled=False):
                weight, bias = conv.weight.float(), conv.bias.float()
                out = F.conv1d(x.float(), weight, bias, padding=conv.padding, groups=conv.groups).to(x.dtype)
        else:
            out = conv(x)
        return activation(out[..., : out.shape[-1] - self.trim]).transpose(1, 2)
