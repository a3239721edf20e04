"""Importing transformers where the host's dependencies stand in its way."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType


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
