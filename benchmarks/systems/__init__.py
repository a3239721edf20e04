"""What benchmarks need of single systems: a folder each, whose ``system.py`` has a ``SYSTEM``."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.harness.system import BenchmarkedSystem
from cmelt_plugin import registry
from cmelt_plugin.errors import DataError


def known() -> list[str]:
    """Names of the systems that have a folder here."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def default() -> str:
    """Name of the system that is measured where none is named."""
    return registry.system_of_encoder(None).name


def find(name: str | None = None) -> BenchmarkedSystem:
    """A system by its registered name; None: the default one.

    Raises:
        DataError: it has no folder here.
    """
    chosen = name or default()
    if chosen not in known():
        raise DataError(f"--model {chosen}: no such system among those that benchmarks know: {', '.join(known())}")
    return importlib.import_module(f"{__name__}.{chosen}.system").SYSTEM
