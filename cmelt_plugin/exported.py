"""A model as a folder without a host: ``model.safetensors``, ``config.json`` and ``tokenizer/``.

``config.json`` holds the model's configuration with that of its text encoder, so nothing else is needed to open it.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin import __version__
from cmelt_plugin.data.files import atomic_path, read_json, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.checkpoint import LoadedModel
from cmelt_plugin.models.building import build_from_config

FORMAT = 1
LIBRARY = "cmelt_plugin"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FOLDER = "tokenizer"
TEXT_ENCODER = "text_encoder_config"


def is_exported(folder: str | os.PathLike) -> bool:
    """Whether the folder was written by :func:`write_folder`."""
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        return False
    values = read_json(path)
    return isinstance(values, dict) and values.get("library") == LIBRARY


def read_folder(folder: str | os.PathLike) -> LoadedModel:
    """Rebuild the model of an exported folder, strictly; in eval mode, on the CPU.

    Raises:
        DataError: a file is missing or damaged, of another format, or the weights do not fit the configuration.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    values = read_json(path)
    if not isinstance(values, dict) or values.get("library") != LIBRARY:
        raise DataError(f"{path}: not the configuration of a model exported by cmelt_plugin")
    if values.get("format") != FORMAT:
        raise DataError(
            f"{path}: format {values.get('format')}, this version reads format {FORMAT}; "
            f"it was written by version {values.get('plugin_version')}"
        )
    cfg, state = values.get("cfg"), values.get("task_state")
    if not isinstance(cfg, dict) or not isinstance(cfg.get("model"), dict) or not isinstance(state, dict):
        raise DataError(f"{path}: incomplete (cfg.model or task_state); export the model again")
    weights = read_safetensors(folder / WEIGHTS_FILE)
    for name, same in dict(values.get("shared_tensors") or {}).items():
        if same not in weights:
            raise DataError(f"{folder / WEIGHTS_FILE}: the tensor {same} is missing, which {name} shares; copy the file again")
        weights[name] = weights[same]
    description = cfg["model"].get(TEXT_ENCODER)
    if isinstance(description, dict):
        cfg["model"][TEXT_ENCODER] = json.dumps(description, sort_keys=True)
    return LoadedModel(build_from_config(cfg["model"], weights, str(folder)), cfg, state)


def write_folder(
    folder: str | os.PathLike, model: Any, cfg: dict[str, Any], task_state: dict[str, Any], extra: dict[str, Any] | None = None
) -> Path:
    """Write weights and configuration; the weights first, so that a folder with ``config.json`` is whole.

    Args:
        folder: where to.
        model: a model of this plugin.
        cfg: plain values, at least ``model`` with its ``_name``.
        task_state: plain values.
        extra: further entries of ``config.json`` for readers.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    tensors, shared = distinct_tensors(model.state_dict())
    write_safetensors(folder / WEIGHTS_FILE, tensors)
    settings = dict(cfg["model"])
    if isinstance(settings.get(TEXT_ENCODER), str):  # kept as a string in checkpoints; here for people to read, too
        settings[TEXT_ENCODER] = json.loads(settings[TEXT_ENCODER])
    values = {"library": LIBRARY, "format": FORMAT, "plugin_version": __version__, "cfg": {**cfg, "model": settings}}
    values.update(task_state=task_state, shared_tensors=shared, **(extra or {}))
    write_json(folder / CONFIG_FILE, _without_nan(values))
    return folder


def _without_nan(value: Any) -> Any:
    """JSON has no NaN (a class without a threshold): null."""
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def distinct_tensors(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a state dict that are not one and the same memory, contiguous, and which name stands for which other.

    T5 keeps its embedding under two names; safetensors stores no memory twice.
    """
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    seen: dict[tuple, str] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in seen:
            shared[name] = seen[place]
            continue
        seen[place] = name
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, shared


def read_safetensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        DataError: no such file, or not one of safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable safetensors file ({error}); copy it again") from None


def write_safetensors(path: str | os.PathLike, tensors: dict[str, Tensor]) -> None:
    """Write tensors, atomically."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        # Hugging Face's loaders ask for this entry.
        save_file(tensors, temporary, metadata={"format": "pt"})
