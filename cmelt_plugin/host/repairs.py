"""Faults of a host that are mended in place."""

from __future__ import annotations

import importlib
from argparse import Namespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.host.choosing import IS_SIGNALS, host_module

# What the hosts keep in their checkpoints besides tensors and plain containers.
_SAFE_CHECKPOINT_TYPES: list[Any] = []


def install() -> None:
    """Mend the chosen host."""
    _allow_checkpoint_types()
    _mend_cpu_gradient_clipping()


def _allow_checkpoint_types() -> None:
    """Let ``torch.load(weights_only=True)``, the default since torch 2.6, read the hosts' checkpoints for users, too.

    Named types are allowed one by one; nothing that can run code is.
    """
    allow = getattr(torch.serialization, "add_safe_globals", None)
    if allow is None:  # torch < 2.4 has no list of safe types
        return
    scalar_module = "numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray"
    scalar = importlib.import_module(scalar_module).scalar
    number_types = [np.dtype(kind) for kind in ("float64", "float32", "int64", "int32", "bool")]
    _SAFE_CHECKPOINT_TYPES[:] = [Namespace, scalar, np.dtype, *{type(dtype) for dtype in number_types}]
    allow(_SAFE_CHECKPOINT_TYPES)


def _mend_cpu_gradient_clipping() -> None:
    """fairseq-signals tests ``torch.cuda.is_available`` without calling it and so cannot clip gradients on a CPU."""
    if not IS_SIGNALS or torch.cuda.is_available():
        return
    utils = host_module("utils.utils")

    def clip_grad_norm_(params: Any, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
        parameters = [params] if isinstance(params, Tensor) else list(params)
        gradients = [p.grad.detach() for p in parameters if p is not None and p.grad is not None]
        if not gradients:
            return torch.tensor(0.0)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.float()) for g in gradients]))
        if aggregate_norm_fn is not None:
            norm = aggregate_norm_fn(norm)
        if max_norm > 0:
            factor = (float(max_norm) / (norm + 1e-6)).clamp_(max=1)
            for gradient in gradients:
                gradient.mul_(factor)
        return norm

    utils.clip_grad_norm_ = clip_grad_norm_
