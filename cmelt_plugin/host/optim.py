"""What the plugin asks of a host's optimiser and of its learning rate schedule."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from cmelt_plugin.errors import DataError


def check_schedule(cfg: Any) -> None:
    """Refuse a ``tri_stage`` schedule whose decay lasts less than one update: the hosts divide by its length.

    Args:
        cfg: the host's whole configuration.

    Raises:
        DataError: ``optimization.max_update`` is too small for ``lr_scheduler.phase_ratio``.
    """
    schedule = getattr(cfg, "lr_scheduler", None)
    ratio = getattr(schedule, "phase_ratio", None)
    if getattr(schedule, "_name", None) != "tri_stage" or not ratio:
        return
    updates = int(cfg.optimization.max_update)
    if updates <= 0 or int(updates * ratio[2]) > 0:
        return
    remedy = f"train for at least {math.ceil(1 / ratio[2])} updates" if ratio[2] > 0 else "give decay a share"
    raise DataError(
        f"optimization.max_update={updates}: decay, the last of lr_scheduler.phase_ratio={list(ratio)}, lasts less than one "
        f"update; {remedy}"
    )


def drop_gradients(optimizer: Any, parameters: list[nn.Parameter]) -> None:
    """Make the next step of a host's optimiser leave ``parameters`` and all it remembers of them as they are.

    A gradient of zero would not do: weight decay still moves the weights, and Adam counts the step.

    Raises:
        DataError: the optimiser holds all parameters as one flat copy (``common.fp16``).
    """
    twins = getattr(optimizer, "fp32_params", None)
    if twins is not None and getattr(optimizer, "has_flat_params", False):
        raise DataError("model.freeze_updates with common.fp16=true needs common.fp16_no_flatten_grads=true")
    dropped = {id(parameter) for parameter in parameters}
    for parameter, twin in zip(optimizer.fp16_params, twins) if twins is not None else ():
        if id(parameter) in dropped:
            twin.grad = None
    for parameter in parameters:
        parameter.grad = None
