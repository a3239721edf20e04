"""A model as a folder without a host: ``model.safetensors``, ``config.json`` and ``tokenizer/``.

``config.json`` holds the model's configuration with that of its text encoder, so nothing else is needed to open it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.files import fingerprint, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import build_from_config
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.files.loaded_settings import check_settings
from cmelt_plugin.serialization.safetensors_files import read_safetensors, write_safetensors
from cmelt_plugin.serialization.weight_checks import check_finite
from cmelt_plugin.version import __version__
from cmelt_plugin.weights import FOLDER as SHIPPED_MODELS

FORMAT = 1
LIBRARY = "cmelt_plugin"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FOLDER = "tokenizer"
TEXT_ENCODER = "text_encoder_config"
CHECKSUMS, CHECKSUM = "checksums", "checksum"  # of the other files, and of config.json itself


def is_exported(folder: str | os.PathLike) -> bool:
    """Whether the folder was written by :func:`write_folder`."""
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        return False
    values = read_config(path)
    return isinstance(values, dict) and values.get("library") == LIBRARY


def read_folder(folder: str | os.PathLike) -> LoadedModel:
    """Rebuild the model of an exported folder, strictly; in eval mode, on the CPU.

    Raises:
        DataError: a file is missing or damaged, of another format, or the weights do not fit the configuration.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    values = read_config(path)
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
    check_folder(folder, values)
    weights = read_safetensors(folder / WEIGHTS_FILE)
    shared = values.get("shared_tensors") or {}
    if not isinstance(shared, dict) or not all(isinstance(name, str) for name in shared.values()):
        raise DataError(f"{path}: its entry shared_tensors is no table of names")
    for name, same in shared.items():
        if same not in weights:
            raise DataError(f"{folder / WEIGHTS_FILE}: the tensor {same} is missing, which {name} shares; copy the file again")
        weights[name] = weights[same]
    check_finite(weights, folder / WEIGHTS_FILE)
    description = cfg["model"].get(TEXT_ENCODER)
    if isinstance(description, dict):
        cfg["model"][TEXT_ENCODER] = json.dumps(description, sort_keys=True)
    # Models of the package are for serving: importing what their text encoder trains with takes longer than a prediction.
    model = build_from_config(cfg["model"], weights, str(folder), serving=folder.resolve().parent == SHIPPED_MODELS)
    return LoadedModel(model, *check_settings(cfg, state, str(path)))


def read_config(path: Path) -> Any:
    """The values of ``config.json``.

    Raises:
        DataError: no such file, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({str(error)[:200]}); copy it again, or export the model again") from None


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of the weights and of the tokenizer's files of a folder, by name; the model card is its owner's to edit."""
    tokenizer = [path for path in (folder / TOKENIZER_FOLDER).glob("*") if path.is_file() and path.name[0] != "."]
    files = [folder / WEIGHTS_FILE, *sorted(tokenizer)]
    return {path.relative_to(folder).as_posix(): fingerprint(path) for path in files}


def config_checksum(values: dict[str, Any]) -> str:
    """SHA-256 of the values of ``config.json`` without the entry that holds it, however the file is laid out."""
    text = json.dumps({name: value for name, value in values.items() if name != CHECKSUM}, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_folder(folder: Path, values: dict[str, Any]) -> None:
    """Compare the files of a folder with the checksums of its ``config.json``; one without any is older than these.

    Raises:
        DataError: a file is missing, or is not the one that was exported.
    """
    known = values.get(CHECKSUMS)
    if known is None and CHECKSUM not in values:
        return
    if not isinstance(known, dict) or values.get(CHECKSUM) != config_checksum(values):
        raise DataError(
            f"{folder / CONFIG_FILE}: not as it was exported (its checksum is wrong); copy it again, or export the model again"
        )
    if WEIGHTS_FILE not in known:
        raise DataError(f"{folder / CONFIG_FILE}: lists no checksum of {WEIGHTS_FILE}; export the model again")
    found = checksums(folder) if (folder / WEIGHTS_FILE).is_file() else {}
    for name in known:
        if name not in found:
            raise DataError(f"{folder / name}: no such file, and {CONFIG_FILE} lists it; copy the folder again")
        if found[name] != known[name]:
            raise DataError(f"{folder / name}: not the file that was exported (its checksum is wrong); copy it again")
    # A tokenizer put beside a model that had none is another matter: the model knows its fingerprint.
    for name in found:
        if name not in known and any(one.startswith(TOKENIZER_FOLDER) for one in known):
            raise DataError(f"{folder / name}: was not exported with this model; remove it, or export the model again")


def write_folder(
    folder: str | os.PathLike,
    model: Any,
    cfg: dict[str, Any],
    task_state: dict[str, Any],
    extra: dict[str, Any] | None = None,
    precision: torch.dtype | None = None,
) -> Path:
    """Write weights and configuration; the weights first, so that a folder with ``config.json`` is whole.

    A tokenizer must be in its place before, for ``config.json`` holds the checksums of its files, too.

    Args:
        folder: where to.
        model: a model of this plugin.
        cfg: plain values, at least ``model`` with its ``_name``; how ECG and text are compared is taken from the model.
        task_state: plain values.
        extra: further entries of ``config.json`` for readers.
        precision: round matrices of weights to it, not biases, norms and their statistics, which are small and cost more when
            rounded; whoever opens the folder computes in the model's own. None: all as they are.

    Returns:
        The folder.

    Raises:
        DataError: a weight is too large for ``precision``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    tensors, shared = distinct_tensors(model.state_dict())
    if precision is not None:
        tensors = {name: _rounded(name, tensor, precision) for name, tensor in tensors.items()}
    write_safetensors(folder / WEIGHTS_FILE, tensors)
    settings = {**cfg["model"], **chosen_score(model)}
    if isinstance(settings.get(TEXT_ENCODER), str):  # kept as a string in checkpoints; here for people to read, too
        settings[TEXT_ENCODER] = json.loads(settings[TEXT_ENCODER])
    values = {"library": LIBRARY, "format": FORMAT, "plugin_version": __version__, "cfg": {**cfg, "model": settings}}
    values.update(task_state=task_state, shared_tensors=shared, **(extra or {}))
    values = _without_nan({**values, CHECKSUMS: checksums(folder)})
    write_json(folder / CONFIG_FILE, {**values, CHECKSUM: config_checksum(values)})
    return folder


def _rounded(name: str, tensor: Tensor, precision: torch.dtype) -> Tensor:
    """A floating-point tensor of two dimensions or more in ``precision``, any other as it is."""
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    if tensor.numel() and (largest := float(tensor.abs().max())) > torch.finfo(precision).max:
        raise DataError(f"the weight {name} reaches {largest:g}, too large for {str(precision)[6:]}; export it in float32")
    return tensor.to(precision)


def without_paths(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the folders of the machine it was trained on: of paths only the last part is kept."""

    def plain(value: Any) -> Any:
        if isinstance(value, str) and value and (os.path.isabs(value) or os.path.exists(value)):
            return Path(value).name
        return value

    return {name: plain(value) for name, value in values.items()}


def chosen_score(model: Any) -> dict[str, str]:
    """How the model compares now, under the setting it has for that: it may have been chosen since it was opened."""
    score = getattr(getattr(model, "cfg", None), "score", None)
    return {} if score is None else {"score": score}


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
