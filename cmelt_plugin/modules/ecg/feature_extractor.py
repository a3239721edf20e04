"""A stack of convolutions, told where records end, so that padding changes nothing in front of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DEFAULT, LAYER_NORM, FIXED = EXTRACTOR_MODES = ("default", "layer_norm", "fixed")
UNIT = 0.2
"""mV, about the standard deviation of an ECG."""


class ConvStack(nn.Module):
    """The wav2vec-style convolutional stack of the hosts where there is no host: the same names, weights and results.

    Args:
        conv_layers: ``(channels, kernel, stride)`` of each layer.
        n_leads: rows of an ECG.
        mode: ``default``, wav2vec 2.0's: one group norm, over the recording, after the first convolution, which makes the same
            of a recording and of its double; ``layer_norm``, wav2vec 2.0's other one: :class:`ChannelNorm` after every
            convolution; these have biases, without which the first norm would remove the amplitude, too; or ``fixed``, ours:
            :class:`FixedScale` in the place of the group norm.
    """

    def __init__(self, conv_layers: list[tuple[int, int, int]], n_leads: int, mode: str = DEFAULT):
        super().__init__()
        self.conv_layers = nn.ModuleList()
        n_in, bias = 1, mode == LAYER_NORM
        for channels, kernel, stride in conv_layers:
            conv = _convolution(n_in, channels, kernel, stride, bias)
            norm = _norms(channels, mode, is_first=not self.conv_layers)
            self.conv_layers.append(nn.Sequential(conv, nn.Dropout(0.0), *norm, nn.GELU()))
            n_in = channels
        # Last, as for fairseq, whose own stack reads one channel: the same seed gives the same weights.
        first: Any = self.conv_layers[0]
        first[0] = _convolution(n_leads, *conv_layers[0], bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, n_leads, T]`` → ``[B, C, N]``."""
        for layer in self.conv_layers:
            x = layer(x)
        return x


def _convolution(n_in: int, channels: int, kernel: int, stride: int, bias: bool = False) -> nn.Conv1d:
    conv = nn.Conv1d(n_in, channels, kernel, stride=stride, bias=bias)
    nn.init.kaiming_normal_(conv.weight)
    return conv


def _norms(channels: int, mode: str, is_first: bool) -> list[nn.Module]:
    """The norm of a layer, if it has one."""
    if mode == LAYER_NORM:
        return [ChannelNorm(channels)]
    if not is_first:
        return []
    return [FixedScale(channels) if mode == FIXED else nn.GroupNorm(channels, channels)]


class ChannelNorm(nn.Sequential):
    """Layer norm over the channels of each step, in float32; the names of its weights are those of wav2vec 2.0's.

    A step depends on no other one: padding changes nothing in front of it.
    """

    def __init__(self, channels: int):
        super().__init__(nn.Identity(), nn.LayerNorm(channels), nn.Identity())  # wav2vec 2.0 has transpositions around it

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C, T]``."""
        norm: Any = self[1]
        steps = x.transpose(1, 2).float()
        out = F.layer_norm(steps, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
        return out.transpose(1, 2).type_as(x)


class FixedScale(nn.Module):
    """A factor and a bias for each channel, under the names of a group norm's, and no statistic of the recording.

    Biases begin at random: behind them units of one direction begin to answer at different voltages. With zeros everywhere the
    layers that follow would make nearly the same of a recording and of its double, up to a factor that the norm behind them
    removes.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]``, mV → ``[B, C, T]``."""
        return x * (self.weight / UNIT)[:, None] + self.bias[:, None]


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
        extractor: the host's module or a :class:`ConvStack`; its first block is convolution, dropout, norm and activation.
        conv_layers: its ``(channels, kernel, stride)``.
    """

    def __init__(self, extractor: nn.Module, conv_layers: list[tuple[int, int, int]]):
        super().__init__()
        layers: Any = extractor.conv_layers
        self.conv_layers = layers
        _, self.kernel, self.stride = conv_layers[0]
        if isinstance(self.conv_layers[0][2], nn.GroupNorm):
            self.conv_layers[0][2] = LengthGroupNorm(self.conv_layers[0][2])

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """``ecg [B, leads, T]`` → ``[B, C, N]``; ``n_samples [B]`` real samples, beyond which the signal must be zero.

        Steps that saw no padding are what the record cut to its real samples gives.
        """
        conv, dropout, norm, activation = self.conv_layers[0]
        x = dropout(conv(ecg))
        if isinstance(norm, LengthGroupNorm):
            n_steps = None if n_samples is None else conv_steps(n_samples, self.kernel, self.stride).clamp(min=1)
            x = norm(x, n_steps)
        else:
            x = norm(x)
        x = activation(x)
        for layer in self.conv_layers[1:]:
            x = layer(x)
        return x


def conv_steps(n_samples: Tensor, kernel: int, stride: int) -> Tensor:
    """Steps of a convolution without padding, for integers in a tensor; none where the kernel is longer: at most 0."""
    return torch.div(n_samples - kernel, stride, rounding_mode="floor") + 1
