"""``torch.compile`` for parts of a model, in training alone and in place: names of modules and weights stay."""

from __future__ import annotations

import logging
import types
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

BACKEND = "inductor"
# Texts padded to multiples of 8 come in 32 lengths up to 256 tokens, for several modules of one class.
SHAPES, SHAPES_OF_ALL = 64, 512


def _warn(error: BaseException) -> None:
    reason = " ".join(str(error).split("\n")[:2]).strip() or type(error).__name__  # the second line names the cause
    logger.warning("model.compile: torch.compile is not available here (%s); training goes on without it", reason)


def compile_in_training(*modules: nn.Module) -> bool:
    """Let ``modules`` run compiled while they train, for one shape at a time (``dynamic=False``).

    In evaluation, whose batches come in many shapes, they run as written. A compiler that fails at the first batch
    (none installed, for instance) is given up with a warning.

    Returns:
        False, after a warning, where this PyTorch cannot compile on this Python or system.
    """
    try:
        for module in modules:
            _compile(module)
    except (RuntimeError, ImportError) as error:
        for module in modules:
            module.__dict__.pop("forward", None)
        _warn(error)
        return False
    config: Any = torch._dynamo.config
    config.cache_size_limit = max(config.cache_size_limit, SHAPES)
    config.accumulated_cache_size_limit = max(config.accumulated_cache_size_limit, SHAPES_OF_ALL)
    return True


def _compile(module: nn.Module) -> None:
    plain = type(module).forward
    compiled = torch.compile(plain, dynamic=False, backend=BACKEND)
    from torch._dynamo.exc import BackendCompilerFailed

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal compiled
        if compiled is None or not (self.training and torch.is_grad_enabled()):
            return plain(self, *args, **kwargs)
        try:
            return compiled(self, *args, **kwargs)
        except BackendCompilerFailed as error:
            _warn(error)
            compiled = None
            return plain(self, *args, **kwargs)

    module.forward = types.MethodType(forward, module)  # a method, so that a copied module runs its own weights
