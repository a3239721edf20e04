"""Results of benchmarks made by hand."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.outcome import HIGHER, LOWER, Figure, Outcome, Report

MACHINE = {"cpu": "Processor", "cores": 2, "threads": 2, "ram_gb": 16.0, "load": 0.1, "torch": "2", "numpy": "2"}


def figure(name: str, value: float, spread: float = 0.01, unit: str = "x", better: str = HIGHER, rounds: int = 5) -> Figure:
    """A figure whose quartiles lie ``spread`` × its value to both sides."""
    return Figure(name, value, unit, value * (1 - spread), value * (1 + spread), better, rounds)


def report(ratio: float = 10.0, seconds: float = 2.0, **changes: Any) -> Report:
    """A run of record_reading with one ratio and one time."""
    outcome = Outcome(
        [figure("packed / mat", ratio)],
        [figure("loading", seconds, unit="s", better=LOWER)],
        ["equal"],
        ["a note"],
        {"records": 10},
        1.5,
    )
    values = {"date": "2030-01-02T03:04:05+00:00", "machine": MACHINE, "options": {"device": "cpu", "quick": False}}
    return Report(**{**values, "outcomes": {"record_reading": outcome}, **changes})
