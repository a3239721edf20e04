"""Linear layers over the real tokens of padded texts alone.

Nothing reads what a layer computes at padding, yet of random batches of reports half and more is padding. Attention, dropout
and normalisation stay as they are, so that the same random numbers meet the same tokens, and only the matrix products become
smaller. Results are those of padded products up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor, nn

LEAST_PADDING, LEAST_WIDTH = 0.1, 256
"""Share of padding and width of layers from which choosing the tokens costs less than computing all of them."""


class RealTokens:
    """Which places of a padded batch are real tokens.

    Args:
        padding_mask: ``[B, L]`` bool, True = padding, on the CPU.

    Attributes:
        shape: ``(B, L)``.
        rows: int64 ``[R]``, real tokens in the flattened batch.
    """

    def __init__(self, padding_mask: Tensor):
        self.shape = tuple(padding_mask.shape)
        self.rows = torch.from_numpy(np.flatnonzero(~padding_mask.numpy()))

    @classmethod
    def of(cls, padding_mask: Tensor | None, width: int) -> RealTokens | None:
        """From ``[B, L]`` bool, True = padding, and the width of the layers.

        None where it would not pay: little padding; narrow layers; a GPU, whose answer how many tokens are real the CPU would
        wait for.
        """
        if padding_mask is None or padding_mask.device.type != "cpu" or width < LEAST_WIDTH:
            return None
        real = cls(padding_mask)
        return real if len(real.rows) <= (1 - LEAST_PADDING) * padding_mask.numel() else None

    def pack(self, x: Tensor) -> Tensor:
        """``[B, L, D]`` → ``[R, D]``."""
        return _Pack.apply(x, self.rows)  # type: ignore[no-untyped-call]

    def unpack(self, x: Tensor) -> Tensor:
        """``[R, D]`` → ``[B, L, D]``, zero at padding."""
        return _Unpack.apply(x, self.rows, self.shape)  # type: ignore[no-untyped-call]


class _Pack(torch.autograd.Function):
    """Rows are chosen once each, so that the gradient is a copy and no sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.rows, ctx.shape = rows, x.shape[:2]
        return x.flatten(0, 1).index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _spread(gradient, ctx.rows, ctx.shape), None


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, shape: tuple[int, int]) -> Tensor:
        ctx.rows = rows
        return _spread(x, rows, shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.flatten(0, 1).index_select(0, ctx.rows), None, None


def _spread(x: Tensor, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    whole = x.new_zeros(shape[0] * shape[1], x.shape[-1])
    return whole.index_copy_(0, rows, x).unflatten(0, shape)


def on_real_tokens(x: Tensor, real: RealTokens | None, *functions: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """``[function(x), …]`` for functions that treat tokens one by one, computed for the real tokens of ``x [B, L, D]`` alone.

    Compiled code knows one shape at a time and computes all tokens.
    """
    if real is None or torch.compiler.is_compiling():
        return [function(x) for function in functions]
    packed = real.pack(x)
    return [real.unpack(function(packed)) for function in functions]


class RealTokenLinears:
    """Lets all linear layers of a module that is not ours compute real tokens alone, while its forward pass runs.

    Args:
        module: whose ``nn.Linear`` are given another class; names and weights stay.
        width: of its states.
    """

    def __init__(self, module: nn.Module, width: int):
        self.width = width
        self.real: RealTokens | None = None
        self._last: tuple[Tensor, Tensor] | None = None
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = _RealTokenLinear
                layer.batch = self  # type: ignore[assignment]

    @contextmanager
    def padded(self, padding_mask: Tensor | None) -> Iterator[None]:
        """Within it, inputs of shape ``[B, L, …]`` are padded as ``padding_mask [B, L]`` says."""
        self.real = RealTokens.of(padding_mask, self.width)
        try:
            yield
        finally:
            self.real = self._last = None

    def packed(self, x: Tensor, real: RealTokens) -> Tensor:
        """:meth:`RealTokens.pack`, once for layers that read the same tensor one after the other."""
        if self._last is None or self._last[0] is not x:
            self._last = (x, real.pack(x))
        return self._last[1]


class _RealTokenLinear(nn.Linear):
    batch: RealTokenLinears

    def forward(self, x: Tensor) -> Tensor:
        real = None if torch.compiler.is_compiling() else self.batch.real
        if real is None or x.shape[:-1] != real.shape:
            return super().forward(x)
        return real.unpack(super().forward(self.batch.packed(x, real)))
