"""C-MELT: ECG–language pre-training as a plugin of fairseq and fairseq-signals.

Importing this package is cheap. Tasks, models and criteria are registered when a host is already loaded, which is the
case when a host imports it through ``--user-dir``, and on :func:`register`. ``cmelt_plugin.load_pretrained(path)`` opens
a trained model; it is imported when first used.
"""

import sys
from typing import Any

from cmelt_plugin.registry import register
from cmelt_plugin.version import __version__

__all__ = ["__version__", "load_pretrained", "register"]


def __getattr__(name: str) -> Any:
    """``cmelt_plugin.load_pretrained``, imported when first asked for: it needs torch."""
    if name == "load_pretrained":
        from cmelt_plugin.models.inference.pretrained import load_pretrained

        return load_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "fairseq" in sys.modules or "fairseq_signals" in sys.modules:
    register()
