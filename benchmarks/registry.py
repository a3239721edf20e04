"""The benchmarks by name."""

from __future__ import annotations

import importlib
import time
from types import ModuleType
from typing import Callable

from benchmarks import systems
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import Outcome

SHARED = (
    "record_reading",
    "collation",
    "text_padding",
    "startup",
    "step",
    "activation_memory",
    "n3s",
    "ivf_recall",
    "preprocessing",
    "linear_probe",
    "evaluation",
    "end_to_end",
    "cached_reports",
    "generation",
)
OWN = systems.own_cases()
"""Those of a piece that one system alone has, and their modules."""
NAMES = (*SHARED, *OWN)
OF_A_MODEL = (
    *("collation", "text_padding", "startup", "step", "activation_memory", "evaluation", "end_to_end", "cached_reports"),
    "generation",
)
"""Those that measure the system of ``--model``; the others need none."""


def module(name: str) -> ModuleType:
    """The module of one benchmark."""
    return importlib.import_module(OWN.get(name, f"benchmarks.cases.{name}"))


def load(name: str) -> Callable[[Options], Outcome]:
    """The ``run`` of one benchmark."""
    return module(name).run


def label(name: str, options: Options) -> str:
    """What results call a benchmark: those of another system than the default one say which."""
    usual = options.model in (None, systems.default()) or name not in OF_A_MODEL
    return name if usual else f"{name} --model {options.model}"


def title(name: str) -> str:
    """First line of a benchmark's docstring."""
    return (module(name).__doc__ or "").strip().splitlines()[0]


def measure(name: str, options: Options) -> Outcome:
    """Run one benchmark and note how long it took.

    Raises:
        NotMeasured: it cannot run here.
    """
    start = time.perf_counter()
    outcome = load(name)(options)
    outcome.seconds = time.perf_counter() - start
    return outcome
