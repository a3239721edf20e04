"""The depth of a parameter, for learning rates that fall from layer to layer."""

from __future__ import annotations

from torch import Tensor, nn

_DEPTH = "depth_"


def set_depth(parameter: nn.Parameter, depth: int) -> None:
    """Note how many layers lie above a parameter, 0 = the output layer.

    ``param_group`` is the one attribute that both hosts copy to the float32 twin of a half-precision parameter.
    """
    parameter.param_group = f"{_DEPTH}{depth}"  # type: ignore[attr-defined]


def depth_of(parameter: Tensor) -> int | None:
    """What :func:`set_depth` noted, None where it noted nothing."""
    group = str(getattr(parameter, "param_group", ""))
    return int(group[len(_DEPTH) :]) if group.startswith(_DEPTH) else None
