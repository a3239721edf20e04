"""A trained model from a host's checkpoint, without the host's trainer, the data or the text encoder's folder."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cmelt_plugin import host, register
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import build_from_config


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
    model = build_from_config(cfg["model"], state["model"], os.fspath(path))
    return LoadedModel(model, cfg, dict(state.get("task_state") or {}))
