"""ECGFounder (Li et al. 2025, NEJM AI 2:AIoa2401033): a convolutional network of 12 leads, or of lead I, from its checkpoint.

Written anew from shapes, names of weights and the order of operations. The published networks were trained without the batch
norms and the dropout that their code can have: the norms are in the files, nothing reads them, and they are dropped. So is the
last layer, 150 diagnoses of the training's own coding; features are what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.data.leads import LEADS, lead_indices
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.data.store.record_store import N_SAMPLES, SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.encoders.frozen import FrozenEncoder, of_each

LEAD_ORDER = LEADS
MAX_TEXT_TOKENS = 0
SIGNS = {"first_conv.conv.weight", "stage_list.0.block_list.0.se_fc1.weight"}
UNUSED = re.compile(r"(.+\.)?(first_bn|bn[123])\..+|dense\.(weight|bias)")
BLOCK = re.compile(r"stage_list\.(\d+)\.block_list\.(\d+)\.conv1\.conv\.weight")
# As recordings are prepared for it: mains, band, and the window of the median that is the baseline.
MAINS, MAINS_QUALITY, BAND, BAND_ORDER, BASELINE = 50, 30, (0.67, 40), 4, 201
SHORTEST = round(0.99 * N_SAMPLES)


@dataclass
class ECGFounderConfig:
    leads: int = 12
    stem: int = 64
    widths: str = "64,160,160,400,400,1024,1024"
    blocks: str = "2,2,2,3,3,4,4"
    kernel: int = 16
    group_width: int = 16


class SameConvolution(nn.Module):
    """A convolution whose output is as long as its input, divided by the stride and rounded up; zeros at the ends."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, D, ceil(T / stride)]``."""
        (kernel,), (stride,) = self.conv.kernel_size, self.conv.stride
        missing = max(0, (-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1])
        return self.conv(F.pad(x, (missing // 2, missing - missing // 2)))


class Block(nn.Module):
    """1 × 1, grouped and 1 × 1 convolutions, channels weighed by their means, and the input added."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, group_width: int, is_first: bool) -> None:
        super().__init__()
        self.is_first, self.stride, self.wider = is_first, stride, n_out - n_in
        self.conv1 = SameConvolution(n_in, n_out, 1)
        self.conv2 = SameConvolution(n_out, n_out, kernel, stride, n_out // group_width)
        self.conv3 = SameConvolution(n_out, n_out, 1)
        self.se_fc1 = nn.Linear(n_out, n_out // 2)
        self.se_fc2 = nn.Linear(n_out // 2, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, D, T / stride]``."""
        out = self.conv1(x if self.is_first else F.silu(x))
        out = self.conv3(F.silu(self.conv2(F.silu(out))))
        out = out * self.se_fc2(F.silu(self.se_fc1(out.mean(-1)))).sigmoid()[..., None]
        if self.stride > 1:
            x = F.max_pool1d(F.pad(x, ((self.stride - 1) // 2, self.stride // 2)), self.stride)
        if self.wider:
            x = F.pad(x, (0, 0, self.wider // 2, self.wider - self.wider // 2))
        return out + x


class Stage(nn.Module):
    """Blocks of one width, of which the first halves the rate."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.block_list = nn.ModuleList(blocks)


class ECGFounder(FrozenEncoder):
    """The network with the filters in front of it."""

    def __init__(self, cfg: ECGFounderConfig) -> None:
        super().__init__()
        self.cfg = cfg
        if cfg.leads not in (1, len(LEADS)):
            raise DataError(f"a network of {cfg.leads} leads; there are those of 12 and of lead I")
        self.signal = SignalContract(
            leads=LEADS[: cfg.leads], normalisation="band-pass, baseline removed, z-score of all leads"
        )
        self.first_conv = SameConvolution(cfg.leads, cfg.stem, cfg.kernel, 2)
        stages, width = [], cfg.stem
        for number, (out, count) in enumerate(zip(_numbers(cfg.widths), _numbers(cfg.blocks))):
            blocks = []
            for index in range(count):
                is_first = number == index == 0
                blocks.append(Block(width, out, cfg.kernel, 1 if index else 2, cfg.group_width, is_first))
                width = out
            stages.append(Stage(blocks))
        self.stage_list = nn.ModuleList(stages)

    def layers(self) -> list[nn.Module]:
        return [block for stage in self.stage_list for block in stage.block_list]  # type: ignore[union-attr]

    def pooled(self, ecg: Tensor, n_samples: Tensor | None) -> Tensor:
        x = F.silu(self.first_conv(of_each(ecg, n_samples, prepared, SHORTEST)))
        for block in self.layers():
            x = block(x)
        return x.mean(-1)


def prepared(signal: np.ndarray) -> np.ndarray:
    """``[leads, samples]`` mV → without mains, baseline and noise, with a mean of 0 and a deviation of 1 over all leads."""
    from scipy import signal as scipy_signal  # takes as long to import as torch does

    b, a = scipy_signal.iirnotch(MAINS, MAINS_QUALITY, SAMPLE_RATE)
    filtered = scipy_signal.filtfilt(b, a, signal, axis=1)
    b, a = scipy_signal.butter(BAND_ORDER, BAND, "bandpass", fs=SAMPLE_RATE)
    filtered = scipy_signal.filtfilt(b, a, filtered, axis=1)
    filtered = filtered - scipy_signal.medfilt(filtered, (1, BASELINE))
    return (filtered - filtered.mean()) / (filtered.std() + 1e-8)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise DataError(f"widths and blocks are numbers with commas between them, not {text[:80]!r}") from None


def recognises(names: Collection[str]) -> bool:
    """Whether weights of these names are of such a network."""
    return set(names) >= SIGNS


def our_settings(weights: Mapping[str, Any], config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Values of :class:`ECGFounderConfig`, from the shapes of the weights.

    Raises:
        DataError: a weight that tells a size is missing.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    found = sorted((int(block[1]), int(block[2])) for block in map(BLOCK.fullmatch, shapes) if block)
    stages = range(1 + max(stage for stage, _ in found)) if found else range(0)
    try:
        stem, leads, kernel = shapes["first_conv.conv.weight"]
        widths = [shapes[f"stage_list.{stage}.block_list.0.conv1.conv.weight"][0] for stage in stages]
        group_width = shapes["stage_list.0.block_list.0.conv2.conv.weight"][1]
    except KeyError as error:
        raise DataError(f"the published weights lack {error.args[0]}") from None
    return {
        "leads": leads,
        "stem": stem,
        "widths": ",".join(map(str, widths)),
        "blocks": ",".join(str(sum(stage == one for one, _ in found)) for stage in stages),
        "kernel": kernel,
        "group_width": group_width,
    }


def convert(weights: dict[str, Tensor], lead_order: Sequence[str] = LEAD_ORDER) -> dict[str, Tensor]:
    """The state dict of :class:`ECGFounder`.

    Args:
        weights: all of the checkpoint's weights.
        lead_order: the 12 leads in the order of the channels they were trained with.
    """
    state = {name: tensor.float() for name, tensor in weights.items() if not UNUSED.fullmatch(name)}
    first = "first_conv.conv.weight"
    if state[first].shape[1] == len(LEADS):
        state[first] = state[first][:, lead_indices(lead_order)].contiguous()
    return state
