"""``torch.compile`` for the layers of a model, in training alone and in place: names of modules and weights stay.

Layers of one kind share their compiled code, so that a new shape costs one layer's compilation and not that of a whole
encoder (PyTorch calls this regional compilation). Before torch 2.5 layers cannot share code, and whole stacks are compiled.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

BACKEND = "inductor"
# Code kept per kind of module and in all. Texts padded to multiples of 8 come in 32 lengths up to 256 tokens, with and
# without padded recordings, for several modules of one class.
SHAPES, SHAPES_OF_ALL = 256, 1024
LAYERS_SHARE_CODE = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 5)
# In torch 2.3 a checkpoint counts tensors of the compiler's tracing too, and the first backward pass fails.
RECOMPUTES_COMPILED = LAYERS_SHARE_CODE


def _warn(error: BaseException) -> None:
    reason = " ".join(str(error).split("\n")[:2]).strip() or type(error).__name__  # the second line names the cause
    logger.warning("model.compile: torch.compile is not available here (%s); training goes on without it", reason)


def repeated_layers(module: nn.Module) -> Iterator[nn.Module]:
    """What is compiled of ``module``: the items of its outermost lists of modules of one class; itself where it has none."""
    yield from (list(stacked_layers(module)) if LAYERS_SHARE_CODE else []) or [module]


def stacked_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The items of the outermost lists of modules of one class, first to last."""
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len({type(item) for item in child}) == 1:
            yield from child
        else:
            yield from stacked_layers(child)


def compile_in_training(*modules: nn.Module, recomputed: bool = False) -> bool:
    """Let ``modules`` run compiled while they train, for one shape at a time (``dynamic=False``).

    In evaluation, whose batches come in many shapes, they run as written. A compiler that fails at the first batch
    (none installed, for instance) is given up with a warning.

    Args:
        *modules: what is compiled.
        recomputed: whether their activations are recomputed in the backward pass, each module called by a checkpoint.

    Returns:
        False, after a warning, where this PyTorch cannot compile on this Python or system, or not what is recomputed.
    """
    if recomputed and not RECOMPUTES_COMPILED:
        _warn(RuntimeError(f"with checkpoint_activations this model needs torch 2.5, and this is {torch.__version__}"))
        return False
    kinds: dict[type, list[nn.Module]] = {}
    for module in modules:
        kinds.setdefault(type(module), []).append(module)
    try:
        for kind in kinds.values():
            _compile(kind)
    except (RuntimeError, ImportError) as error:
        for module in modules:
            module.__dict__.pop("forward", None)
        _warn(error)
        return False
    config: Any = torch._dynamo.config
    config.cache_size_limit = max(config.cache_size_limit, SHAPES)
    config.accumulated_cache_size_limit = max(config.accumulated_cache_size_limit, SHAPES_OF_ALL)
    return True


def _compile(modules: list[nn.Module]) -> None:
    """Compile the forward pass that ``modules``, all of one class, share."""
    plain = type(modules[0]).forward
    compiled: Any = torch.compile(plain, dynamic=False, backend=BACKEND)
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

    for module in modules:
        module.forward = types.MethodType(forward, module)  # a method, so that a copied module runs its own weights
