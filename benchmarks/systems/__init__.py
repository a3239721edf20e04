"""What benchmarks need of single systems: a folder each, whose ``system.py`` has a ``SYSTEM``.

Its ``cases/``, where there are some, are benchmarks of pieces that no other system has.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Callable

from benchmarks.harness.outcome import NotMeasured
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


def first(name: str | None, has: Callable[[BenchmarkedSystem], bool], what: str) -> BenchmarkedSystem:
    """The system of that name; None: the first one that has something.

    Args:
        name: registered name.
        has: whether a system has it.
        what: says what that is.

    Raises:
        NotMeasured: it has not.
        DataError: it has no folder here.
    """
    for system in map(find, known() if name is None else [name]):
        if has(system):
            return system
    raise NotMeasured(f"no known system has a {what}" if name is None else f"{name} has no {what}")


def own_cases() -> dict[str, str]:
    """Benchmarks of pieces of one system alone → the module each is."""
    cases = {}
    for system in known():
        for module in pkgutil.iter_modules([str(Path(folder) / system / "cases") for folder in __path__]):
            cases[module.name] = f"{__name__}.{system}.cases.{module.name}"
    return cases
