"""What a GPU computes otherwise than a CPU, done on a CPU: what is kept for the backward pass is then what a GPU would keep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses import sentence_columns
from cmelt_plugin.modules.ecg import conv_positions
from cmelt_plugin.modules.text.real_tokens import RealTokens

_attention = F.scaled_dot_product_attention


class _FusedAttention(torch.autograd.Function):
    """PyTorch's fused kernels keep what they are given, their output and a float32 number a query and head.

    With dropout there is none of them on a CPU, and all [B, H, L, S] matrices would be kept.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]) -> Tensor:
        out = _attention(query, key, value, attn_mask=mask, **options)
        sums = torch.empty(out.shape[:-1], device=out.device)
        ctx.save_for_backward(query, key, value, mask, out, sums)
        return out


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    return _FusedAttention.apply(query, key, value, attn_mask, {"is_causal": is_causal, "scale": scale})


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """A GPU keeps one byte a number, a CPU the factor itself."""
    return torch.native_dropout(x, p, True)[0] if training and p else x


@contextmanager
def gpu_paths() -> Iterator[None]:
    """Within it, forward passes keep what they would keep on a GPU; they have no backward pass.

    Attention is fused, and without dropout; dropout keeps a mask of bytes; nothing is packed to real tokens or sentences; long
    convolutions are convolutions.
    """
    with ExitStack() as patches:
        for target, name, value in (
            (F, "scaled_dot_product_attention", _fused),
            (F, "dropout", _dropout),
            (RealTokens, "of", classmethod(lambda cls, padding_mask, width: None)),
            (conv_positions, "LONG", float("inf")),
            (sentence_columns, "PACKING_DEVICES", ()),
        ):
            patches.enter_context(patch.object(target, name, value))
        yield
