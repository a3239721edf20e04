"""Monte-Carlo dropout (Gal and Ghahramani 2016): a model asked several times with its dropout at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

PASSES = 10


@contextmanager
def dropping(module: nn.Module) -> Iterator[nn.Module]:
    """Only what drops is in training mode: statistics of batches and everything else stay as in evaluation."""
    parts = [part for part in module.modules() if _rate(part) > 0 and not part.training]
    for part in parts:
        part.training = True  # not train(), which would reach the parts below
    try:
        yield module
    finally:
        for part in parts:
            part.training = False


def _rate(part: nn.Module) -> float:
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return float(part.p)
    rate = getattr(part, "dropout", 0.0)  # attention hands its own to a fused kernel
    return float(rate) if isinstance(rate, (int, float)) and not isinstance(rate, bool) else 0.0
