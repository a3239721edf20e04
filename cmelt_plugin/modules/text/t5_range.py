"""T5 in float16: feed-forward layers whose outputs exceed float16's largest number, 65,504.

T5 was trained in bfloat16, and the sum of its layers' outputs (the residual stream) grows beyond what float16 holds.
Hugging Face cuts it off there, under autocast it becomes infinite.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# A power of two: neither multiplication rounds. 32 · 65,504 is more than two million.
_FACTOR = 32.0


def widen_t5_range(model: nn.Module) -> None:
    """Let the output layers of all feed-forward blocks reach 32 times as far in float16, and give float32.

    The residual stream is float32 from the first of them on; T5's layer norms hand float16 to what follows. Nothing
    changes in float32 and bfloat16, nor in the names or types of weights.
    """
    for name, module in model.named_modules():
        if name.endswith(".DenseReluDense.wo"):
            module.register_forward_pre_hook(_scale_down)
            module.register_forward_hook(_scale_up)


def _scale_down(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    return (inputs[0] / _FACTOR, *inputs[1:]) if _in_float16(inputs[0]) else None


def _scale_up(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Any:
    return output.float() * _FACTOR if _in_float16(inputs[0]) else None


def _in_float16(values: Tensor) -> bool:
    if values.dtype == torch.float16:
        return True
    # Under a GPU's float16 autocast the block hands over float32, which the layer then takes as float16.
    return values.is_cuda and torch.is_autocast_enabled() and _autocast_dtype() == torch.float16


def _autocast_dtype() -> torch.dtype:
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype("cuda")
    return torch.get_autocast_gpu_dtype()  # its name before torch 2.4
