"""ResNet-18 over time (He et al. 2016), as MERL uses it (Liu et al. 2024): leads are channels, and there is no max-pooling."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cmelt_plugin.modules.ecg.decimation import decimate
from cmelt_plugin.modules.ecg.feature_extractor import conv_steps
from cmelt_plugin.modules.ecg.length_batch_norm import LengthBatchNorm, repeated_pass, zero_padding

RESNET18 = (2, 2, 2, 2)  # blocks of each stage
DOUBLING = (1, 2, 4, 8)  # channels of each stage, as multiples of the stem's


class BasicBlock1d(nn.Module):
    """Two convolutions of width 3 and a shortcut, which is a 1×1 convolution where sizes change."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv1d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = LengthBatchNorm(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = LengthBatchNorm(channels)
        self.shortcut = nn.ModuleList()
        if stride != 1 or in_channels != channels:
            conv = nn.Conv1d(in_channels, channels, 1, stride, bias=False)
            self.shortcut.extend([conv, LengthBatchNorm(channels)])

    def forward(self, x: Tensor, n_steps: Tensor | None = None) -> Tensor:
        """``x [B, C, T]``, zero beyond its real steps → ``[B, channels, ⌈T/stride⌉]``, zero beyond ``n_steps [B]`` of these."""
        residual = x
        if len(self.shortcut):
            conv, norm = self.shortcut
            residual = norm(conv(x), n_steps)
        x = zero_padding(F.relu(self.bn1(self.conv1(x), n_steps)), n_steps)
        x = self.bn2(self.conv2(x), n_steps)
        return zero_padding(F.relu(x + residual), n_steps)


class ResNet1d(nn.Module):
    """``[B, leads, T]`` → ``[B, 8 × width, ⌈T/16⌉]``: 313 steps of 512 channels for 10 s at 500 Hz, as ResNet-18.

    Every convolution sees zeros beyond the end of a record, as at the end of a record that is not padded, and batch
    statistics are those of real steps: in evaluation a padded record gives what it gives cut to its real samples, and so
    does, in training, a batch whose records all have one length. Records of several lengths cannot be compared so in
    training, for the statistics are those of the batch they are in.

    Args:
        n_leads: channels of the signal.
        width: channels of the stem.
        blocks: of each stage.
        recompute: keep no activations inside blocks and compute them again in the backward pass.
        factors: channels of each stage as multiples of ``width``.
        decimation: read a recording low-passed and this many samples as one, e.g. 5 for 100 Hz of 500.
    """

    def __init__(
        self,
        n_leads: int = 12,
        width: int = 64,
        blocks: tuple[int, ...] = RESNET18,
        recompute: bool = False,
        factors: tuple[int, ...] = DOUBLING,
        decimation: int = 1,
    ):
        super().__init__()
        self.decimation = decimation
        self.recompute = recompute
        self.conv1 = nn.Conv1d(n_leads, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = LengthBatchNorm(width)
        self.stages = [f"layer{number + 1}" for number in range(len(blocks))]
        channels = width
        for number, (name, n_blocks) in enumerate(zip(self.stages, blocks)):
            stage = nn.ModuleList()
            for index in range(n_blocks):
                stage.append(BasicBlock1d(channels, width * factors[number], 2 if number and not index else 1))
                channels = width * factors[number]
            self.add_module(name, stage)
        self.dim = channels
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def blocks(self) -> list[BasicBlock1d]:
        """All blocks, first to last."""
        return [block for name in self.stages for block in getattr(self, name)]

    @property
    def samples_per_token(self) -> int:
        """Stride of a step in samples."""
        return math.prod([self.decimation, 2, *(block.stride for block in self.blocks())])

    def n_tokens(self, n_samples: int) -> int:
        """Steps that ``n_samples`` samples become."""
        for stride in (self.decimation, 2, *(block.stride for block in self.blocks())):
            n_samples = -(-n_samples // stride)
        return n_samples

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            ecg: ``[B, leads, T]``, floating point, rounded here to the precision of the weights.
            n_samples: ``[B]`` real samples; None: all are. A record of 0 counts in no batch statistic.

        Returns:
            Features ``[B, C, N]``, zero where there is padding, and their real steps ``[B]`` (None without ``n_samples``).

        Raises:
            TypeError: the signal holds integers.
        """
        if not ecg.is_floating_point():
            raise TypeError(f"an ECG in mV must be of floating-point numbers, not {ecg.dtype}")
        x = zero_padding(ecg.to(self.conv1.weight.dtype), n_samples)
        if self.decimation > 1:
            n_samples = None if n_samples is None else (n_samples + self.decimation - 1) // self.decimation
            x = zero_padding(decimate(x, self.decimation), n_samples)
        n_steps = None if n_samples is None else conv_steps(n_samples + 6, 7, 2)
        x = zero_padding(F.relu(self.bn1(self.conv1(x), n_steps)), n_steps)
        for block in self.blocks():
            if n_steps is not None and block.stride != 1:
                n_steps = conv_steps(n_steps + 2, 3, block.stride)
            x = self._run(block, x, n_steps)
        return x, n_steps

    def states(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Features as states ``[B, N, C]``, and which are padding ``[B, N]`` (None: none is); arguments as :meth:`forward`."""
        features, n_steps = self(ecg, n_samples)
        if n_steps is None:
            return features.transpose(1, 2), None
        padding = torch.arange(features.shape[-1], device=ecg.device) >= n_steps[:, None]
        return features.transpose(1, 2), padding

    def _run(self, block: BasicBlock1d, x: Tensor, n_steps: Tensor | None) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            return block(x, n_steps)
        contexts = (nullcontext(), repeated_pass(block))  # the second pass sees the same batch once more
        return checkpoint(block, x, n_steps, use_reentrant=False, context_fn=lambda: contexts)
