"""A stack of convolutions, told where records end, so that padding changes nothing in front of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvStack(nn.Module):
    """The wav2vec-style convolutional stack of the hosts where there is no host: the same names, weights and results.

    Args:
        conv_layers: ``(channels, kernel, stride)`` of each layer.
        n_leads: rows of an ECG.
    """

    def __init__(self, conv_layers: list[tuple[int, int, int]], n_leads: int):
        super().__init__()
        self.conv_layers = nn.ModuleList()
        n_in = 1
        for channels, kernel, stride in conv_layers:
            conv = _convolution(n_in, channels, kernel, stride)
            norm = [] if self.conv_layers else [nn.GroupNorm(channels, channels)]
            self.conv_layers.append(nn.Sequential(conv, nn.Dropout(0.0), *norm, nn.GELU()))
            n_in = channels
        # Last, as for fairseq, whose own stack reads one channel: the same seed gives the same weights.
        first: Any = self.conv_layers[0]
        first[0] = _convolution(n_leads, *conv_layers[0])

    def forward(self, x: Tensor) -> Tensor:
        """``[B, n_leads, T]`` → ``[B, C, N]``."""
        for layer in self.conv_layers:
            x = layer(x)
        return x


def _convolution(n_in: int, channels: int, kernel: int, stride: int) -> nn.Conv1d:
    conv = nn.Conv1d(n_in, channels, kernel, stride=stride, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return conv


class LengthGroupNorm(nn.GroupNorm):
    """The hosts' ``Fp32GroupNorm`` with one group a channel; statistics of a padded record over its real steps alone.

    Args:
        norm: the host's, whose parameters are taken over.
    """

    def __init__(self, norm: nn.GroupNorm):
        if norm.num_groups != norm.num_channels:
            raise ValueError(f"{norm.num_groups} groups of {norm.num_channels} channels: only one group a channel is known")
        super().__init__(norm.num_groups, norm.num_channels, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor, n_steps: Tensor | None = None) -> Tensor:
        """``x [B, C, T]``; ``n_steps [B]`` real steps per record, None: all. Computed in float32, returned as it came.

        A record without padding gets the same bits whether the records beside it are padded or not.
        """
        steps, weight, bias = x.float(), self.weight.float(), self.bias.float()
        whole = F.group_norm(steps, self.num_groups, weight, bias, self.eps)
        if n_steps is None:
            return whole.type_as(x)
        n_steps = n_steps.view(-1, 1, 1)
        real = torch.arange(x.shape[-1], device=x.device) < n_steps
        centred = steps - (steps * real).sum(-1, keepdim=True) / n_steps
        variance = (centred * real).square().sum(-1, keepdim=True) / n_steps
        short = centred * ((variance + self.eps).rsqrt() * weight[:, None]) + bias[:, None]
        return torch.where(n_steps < x.shape[-1], short, whole).type_as(x)


class FeatureExtractor(nn.Module):
    """A host's stack of convolutions, layer by layer, under the host's names of weights.

    Args:
        extractor: the host's module; its first block is convolution, dropout, group norm and activation.
        conv_layers: its ``(channels, kernel, stride)``.
    """

    def __init__(self, extractor: nn.Module, conv_layers: list[tuple[int, int, int]]):
        super().__init__()
        layers: Any = extractor.conv_layers
        self.conv_layers = layers
        _, self.kernel, self.stride = conv_layers[0]
        self.conv_layers[0][2] = LengthGroupNorm(self.conv_layers[0][2])

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """``ecg [B, leads, T]`` → ``[B, C, N]``; ``n_samples [B]`` real samples, beyond which the signal must be zero.

        Steps that saw no padding are what the record cut to its real samples gives.
        """
        conv, dropout, norm, activation = self.conv_layers[0]
        n_steps = None if n_samples is None else conv_steps(n_samples, self.kernel, self.stride).clamp(min=1)
        x = activation(norm(dropout(conv(ecg)), n_steps))
        for layer in self.conv_layers[1:]:
            x = layer(x)
        return x


def conv_steps(n_samples: Tensor, kernel: int, stride: int) -> Tensor:
    """Steps of a convolution without padding, for integers in a tensor; none where the kernel is longer: at most 0."""
    return torch.div(n_samples - kernel, stride, rounding_mode="floor") + 1
