"""How the linear layer of classifiers and probes begins."""

from __future__ import annotations

import torch
from torch import Tensor

STANDARD_DEVIATION = 0.02


@torch.no_grad()
def initialise_head(weight: Tensor, bias: Tensor, generator: torch.Generator | None = None) -> None:
    """Fill ``weight [C, D]`` with normal numbers and ``bias [C]`` with 0, in place.

    Args:
        weight, bias: parameters of a linear layer.
        generator: of the numbers; None: torch's own.
    """
    weight.normal_(std=STANDARD_DEVIATION, generator=generator)
    bias.zero_()
