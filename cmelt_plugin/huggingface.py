"""The one door to transformers: importing it, and asking it for tokenizers, configurations and models.

Nothing of a folder or a hub is ever run. ``trust_remote_code=False`` is said everywhere (left out, transformers asks on the
terminal), what would bring code along is refused by name, and weights in pickles are read by
:mod:`cmelt_plugin.serialization.checkpoint_files` where PyTorch's own reader is not safe.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import socket
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from cmelt_plugin.errors import DataError

# Entries of configurations that name code of their own, and those that may name a kernel on a hub.
CODE_ENTRIES = ("auto_map", "custom_pipelines", "custom_generate", "trust_remote_code", "use_kernels", "kernel_config")
ATTENTION = (None, "eager", "sdpa")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_TIMEOUT = 5.0  # seconds to find out whether the hub answers
PICKLED_WEIGHTS = "pytorch_model.bin"
TORCH_READS_SAFELY = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)
LARGEST_NUMBER = 10_000_000  # of a configuration; vocabularies have less than a million entries
LARGEST_LABELS = 100_000  # of which configurations make a table


def import_transformers() -> ModuleType:
    """The ``transformers`` package.

    fairseq depends on torchaudio, whose builds match one build of torch; beside a CPU torch, say, it cannot be loaded.
    transformers imports it wherever it is installed and fails with it. Nothing here needs audio, so a torchaudio that
    cannot be loaded is treated as absent.
    """
    if "torchaudio" not in sys.modules and importlib.util.find_spec("torchaudio") is not None:
        try:
            importlib.import_module("torchaudio")
        except (OSError, ImportError, AttributeError, RuntimeError):
            for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
                del sys.modules[name]
            sys.modules["torchaudio"] = None  # type: ignore[assignment]
    return importlib.import_module("transformers")


def first_line(error: BaseException) -> str:
    """The first line of an error message; those of transformers run over paragraphs."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a folder or a hub.

    Raises:
        DataError: there is none, it brings code along, or transformers cannot load it.
    """
    return _ask(import_transformers().AutoTokenizer, name)


def load_config(name: str) -> Any:
    """The configuration of the model in a folder or on a hub.

    Raises:
        DataError: as :func:`load_tokenizer`.
    """
    config = _ask(import_transformers().AutoConfig, name)
    check_code(config.to_dict(), name)
    check_numbers(config.to_dict(), name)
    return config


def load_model(kind: Any, name: str, **options: Any) -> Any:
    """``kind.from_pretrained`` of a folder or a hub.

    Raises:
        DataError: as :func:`load_tokenizer`, or the weights cannot be read.
    """
    config = load_config(name)
    folder = Path(name)
    if not TORCH_READS_SAFELY:
        if (folder / PICKLED_WEIGHTS).is_file() and not list(folder.glob("*.safetensors")):
            from cmelt_plugin.serialization.checkpoint_files import load_checkpoint
            from cmelt_plugin.serialization.weight_checks import check_weights

            options["state_dict"] = load_checkpoint(folder / PICKLED_WEIGHTS)
            check_weights(options["state_dict"], folder / PICKLED_WEIGHTS)
        else:
            options["use_safetensors"] = True
    return _ask(kind, name, config=config, **options)


def config_of(values: Any, source: str) -> Any:
    """The transformers configuration that plain ``values`` describe, with its kind under ``model_type``.

    Raises:
        DataError: they describe none, or something that would bring code along or exhaust memory.
    """
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise DataError(f"{source}: describes no text encoder (a table with an entry model_type)")
    check_code(values, source)
    check_numbers(values, source)
    values = dict(values)
    try:
        return import_transformers().AutoConfig.for_model(values.pop("model_type"), **values)
    except Exception as error:  # each kind checks its own values in its own way
        raise DataError(f"{source}: describes no text encoder of transformers: {first_line(error)}") from None


def check_code(values: Any, source: str) -> None:
    """Raise DataError where a configuration names code of its own."""
    for name, value in _entries(values):
        if name in CODE_ENTRIES and value:
            raise DataError(f"{source}: its configuration brings code along ({name}), which is never run here")
        if name.endswith("attn_implementation") or name.endswith("experts_implementation"):
            chosen = list(value.values()) if isinstance(value, dict) else [value]
            if any(one not in ATTENTION for one in chosen):
                shown = str(value)[:80]
                raise DataError(f"{source}: {name}={shown!r}: only sdpa and eager; other names may stand for code of a hub")


def check_numbers(values: Any, source: str) -> None:
    """Raise DataError where the configuration of a model holds a number that no text encoder has."""
    for name, value in _entries(values):
        if isinstance(value, int) and abs(value) > (LARGEST_LABELS if name == "num_labels" else LARGEST_NUMBER):
            raise DataError(f"{source}: {name} in its configuration is larger than any text encoder's")


def _entries(values: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > 20:
        raise DataError("a configuration nested more than 20 deep")
    if isinstance(values, dict):
        for name, value in values.items():
            yield str(name), value
            yield from _entries(value, depth + 1)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield "", value
            yield from _entries(value, depth + 1)


def _ask(kind: Any, name: str, **options: Any) -> Any:
    """``kind.from_pretrained(name)`` without running anything, waiting for anybody or asking anybody."""
    name = str(name)
    if os.path.isdir(name):
        _check_folder(Path(name))
    elif looks_local(name):
        raise DataError(f"{name}: no such folder")
    elif not _hub_answers():
        options["local_files_only"] = True
    try:
        return kind.from_pretrained(name, trust_remote_code=False, **options)
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{name}: not enough memory to load it") from None
    except Exception as error:  # a damaged file makes transformers stumble in any way
        offline = " (the hub cannot be reached, and it is not in the local cache)" if "local_files_only" in options else ""
        raise DataError(f"{name}: transformers cannot load it{offline}: {first_line(error)}") from None


def looks_local(name: str) -> bool:
    """Whether ``name`` can only be a folder: no name on a hub looks like it."""
    return HUB_NAME.fullmatch(name) is None


def _check_folder(folder: Path) -> None:
    for path in sorted(folder.glob("*config*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError, RecursionError) as error:
            raise DataError(f"{path}: not a JSON file ({first_line(error)})") from None
        check_code(values, str(path))


def _hub_answers() -> bool:
    """Whether the hub can be reached at all; without this, transformers tries file after file for a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or urllib.request.getproxies():
        return True  # asks nobody; or a way through that only its own client knows
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    answers: list[bool] = []

    def connect() -> None:
        port = address.port or (80 if address.scheme == "http" else 443)
        try:
            socket.create_connection((address.hostname, port), timeout=HUB_TIMEOUT).close()
            answers.append(True)
        except OSError:
            pass

    # Looking up a name has no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT)
    return bool(answers)
