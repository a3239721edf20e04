"""A trained model from a host's checkpoint, without the host's trainer, the data or the text encoder's folder."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import build, check_fits
from cmelt_plugin.models.files.loaded_settings import check_settings
from cmelt_plugin.serialization.checkpoint_files import open_state
from cmelt_plugin.serialization.weight_checks import check_finite


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
        DataError: no such file, not a checkpoint of this plugin or a damaged one, weights that are not finite or do not fit
            the configuration beside them, or settings that no model has.
    """
    source = os.fspath(path)
    file = open_state(path)
    cfg, state = file.tree.get("cfg"), file.tree.get("task_state")
    if not isinstance(cfg, dict) or not isinstance(cfg.get("model"), dict):
        raise DataError(f"{path}: has no model configuration (entry cfg.model)")
    # Before any tensor is read: what the configuration asks for must be what the weights are.
    model_class, settings = check_fits(cfg["model"], file.tree["model"], source)
    cfg, state, weights = file.load([cfg, state, file.tree["model"]])
    cfg, state = check_settings(cfg, state, source)
    check_finite(weights, source)
    return LoadedModel(build(model_class, settings, weights, source), cfg, state)
