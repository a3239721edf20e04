"""The ECG encoder of a trained model, wherever it is kept: whose it is, its settings and its weights."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from torch import Tensor

from cmelt_plugin import registry
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import own_settings
from cmelt_plugin.models.files.opening import open_model
from cmelt_plugin.serialization.checkpoint_files import load_state, open_state


class EncoderSource(NamedTuple):
    """An ECG encoder as found on disk.

    Attributes:
        system: the system whose encoder it is.
        settings: values of :func:`encoder_names`, as in its training.
        weights: its state dict.
    """

    system: registry.System
    settings: dict[str, Any]
    weights: dict[str, Tensor]


@functools.lru_cache(maxsize=1)  # asked for twice when a model is built: for its sizes, then for its weights
def read_encoder(path: str) -> EncoderSource:
    """The ECG encoder of a checkpoint of this plugin, or of whatever else ``cmelt_plugin.load_pretrained`` opens.

    Of a checkpoint only the encoder is taken; the text encoder, which is several times larger, is not built.

    Raises:
        DataError: the file cannot be read, is damaged, or holds no ECG encoder of this plugin.
    """
    if not os.path.exists(path):
        raise DataError(f"model.pretrained={path}: no such file or folder")
    state = _own_checkpoint(path) if os.path.isfile(path) else None
    if state is not None:
        return _source(path, state["cfg"]["model"], state["model"])
    loaded, _ = open_model(path)
    return _source(path, loaded.cfg["model"], loaded.model.state_dict())


def encoder_names(system: registry.System) -> list[str]:
    """The settings that a classifier takes over from a system's ECG encoder: its sizes, and some of its training."""
    config = system.config_class()
    return [*config.encoder_sizes, *(name for name, default in config.encoder_training.items() if default is None)]


def encoder_additions(system: registry.System) -> dict[str, Any]:
    """Of :func:`encoder_names` those that checkpoints of earlier versions lack, with what holds for their encoders."""
    return dict(getattr(system.config_class(), "encoder_additions", {}))


def encoder_settings(system: registry.System, cfg: Any) -> dict[str, Any]:
    """Values of :func:`encoder_names` in a configuration of the system or of a classifier; none is None."""
    values = {name: getattr(cfg, name) for name in encoder_names(system)}
    resolve = getattr(system.model_class(), "resolved_sizes", None)
    return values if resolve is None else {**values, **resolve(cfg)}


def _own_checkpoint(path: str) -> dict[str, Any] | None:
    """The state of a checkpoint that a host saved of one of this plugin's models; None for any other file."""
    try:
        own = own_settings(open_state(path).tree) is not None
    except DataError:
        return None
    return load_state(path, ("cfg",)) if own else None


def _source(path: str, cfg: Mapping[str, Any], state: Mapping[str, Tensor]) -> EncoderSource:
    """Of a system, or of a classifier on the encoder of one."""
    model = registry.models()[cfg["_name"]]
    system = model if isinstance(model, registry.System) else registry.system_of_encoder(cfg.get("encoder"))
    weights = {name: tensor.clone() for name, tensor in model.model_class().encoder_weights(state).items()}
    cfg = {**cfg, **{name: value for name, value in encoder_additions(system).items() if cfg.get(name) is None}}
    missing = [name for name in encoder_names(system) if name not in cfg]
    settings = {} if missing else encoder_settings(system, SimpleNamespace(**cfg))
    missing += [name for name, value in settings.items() if value is None]
    if not weights or missing:
        what = f"its configuration lacks {', '.join(missing)}" if weights else "it has no weights of one"
        raise DataError(f"model.pretrained={path}: holds no ECG encoder of this plugin ({what})")
    return EncoderSource(system, settings, weights)
