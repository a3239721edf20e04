"""Which host framework is used, and its modules by one name."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from typing import Any

HOSTS = ("fairseq", "fairseq_signals")


def choose_host() -> str:
    """Name of the host package.

    Raises:
        ImportError: none is installed, or ``CMELT_HOST`` names none.
    """
    wanted = os.environ.get("CMELT_HOST")
    if wanted:
        if wanted not in HOSTS:
            raise ImportError(f"CMELT_HOST={wanted!r}: must be one of {', '.join(HOSTS)}")
        return wanted
    for name in HOSTS:
        if name in sys.modules:
            return name
    for name in HOSTS:
        if importlib.util.find_spec(name) is not None:
            return name
    raise ImportError(
        "C-MELT is a plugin of fairseq or fairseq-signals and finds neither. Install one: "
        "'pip install --no-build-isolation fairseq-fixed' (Python ≥ 3.11, after torch, numpy, cython, setuptools and "
        "wheel), or fairseq-signals from its source repository (Python ≤ 3.10), and this plugin beside it with "
        "'CMELT_HOST=fairseq_signals pip install .'"
    )


NAME = choose_host()
IS_SIGNALS = NAME == "fairseq_signals"


def host_module(name: str = "") -> Any:
    """A module of the chosen host, e.g. ``host_module("data.iterators")``; the host itself where none is named."""
    return importlib.import_module(f"{NAME}.{name}" if name else NAME)


# fairseq's speech tasks ask for tensorboardX whenever fairseq is imported; nothing here uses them.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)
for _name in ("fsspec", "matplotlib", "fontTools"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # the host turns on debugging output of every library
host_module()
