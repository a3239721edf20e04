"""A trained model from a host's checkpoint, without the host's trainer, the data or the text encoder's folder."""

from __future__ import annotations

import dataclasses
import os
from types import SimpleNamespace
from typing import Any, NamedTuple

from cmelt_plugin import host, register
from cmelt_plugin.errors import DataError


class LoadedModel(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        model: in eval mode, on the CPU.
        cfg: the whole configuration of the run, plain dictionaries (``model``, ``task``, ``criterion``, …).
        task_state: what the task keeps, e.g. ``tokenizer_fingerprint``.
    """

    model: Any
    cfg: dict[str, Any]
    task_state: dict[str, Any]


class _LoadingTask:
    """Stands in for the task: tells the model that a checkpoint will overwrite its weights."""

    loading_checkpoint = True


def load_model(path: str | os.PathLike) -> LoadedModel:
    """Rebuild the model a checkpoint of this plugin was saved from, strictly.

    Raises:
        DataError: no such file, not a checkpoint of this plugin, or weights that do not fit the configuration beside them.
    """
    register()
    try:
        state = host.load_checkpoint_state(os.fspath(path))
    except (LookupError, ValueError, TypeError, AttributeError) as error:  # torch's reader stumbling over other files
        raise DataError(f"{path}: not a readable checkpoint ({error!r})") from None
    cfg = state.get("cfg")
    if not isinstance(cfg, dict) or not isinstance(cfg.get("model"), dict):
        raise DataError(f"{path}: has no model configuration (entry cfg.model)")
    values = dict(cfg["model"])
    name = values.pop("_name", None)
    try:
        model_class = host.model_class(SimpleNamespace(_name=name))
    except KeyError:
        raise DataError(f"{path}: holds a model {name!r}, which this plugin does not know") from None
    config_class = getattr(model_class, "__dataclass")  # noqa: B009  (set by both hosts' register_model)
    known = {field.name for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise DataError(f"{path}: the model configuration has settings this version does not know: {', '.join(unknown)}")
    try:
        model = model_class.build_model(config_class(**values), _LoadingTask())
        model.load_state_dict(state["model"], strict=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{path}: the weights do not fit the configuration beside them: {error}") from None
    model.eval()
    return LoadedModel(model, cfg, dict(state.get("task_state") or {}))
