"""What the plugin asks of a host's optimiser."""

from __future__ import annotations

from typing import Any

from torch import nn

from cmelt_plugin.errors import DataError


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
