"""A registered model from plain configuration values and weights, strictly."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from cmelt_plugin import host, register
from cmelt_plugin.errors import DataError


class _LoadingTask:
    """Stands in for the task: tells the model that its weights are about to be overwritten."""

    loading_checkpoint = True


def build_from_config(values: dict[str, Any], weights: dict[str, Tensor], source: str) -> Any:
    """Build the model that ``values`` describe and fill it with ``weights``.

    Args:
        values: the model's configuration, with its registered name under ``_name``.
        weights: its whole state dict.
        source: what to name in messages.

    Returns:
        The model, in eval mode, on the CPU.

    Raises:
        DataError: an unknown model or setting, or weights that do not fit.
    """
    register()
    values = dict(values)
    name = values.pop("_name", None)
    try:
        model_class = host.model_class(SimpleNamespace(_name=name, arch=name))
    except KeyError:
        raise DataError(f"{source}: holds a model {name!r}, which this plugin does not know") from None
    config_class = host.model_config_class(model_class)
    known = {field.name for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise DataError(f"{source}: the model configuration has settings this version does not know: {', '.join(unknown)}")
    try:
        model = model_class.build_model(config_class(**values), _LoadingTask())
        model.load_state_dict(weights, strict=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{source}: the weights do not fit the configuration beside them: {error}") from None
    return model.eval()
