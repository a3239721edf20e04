"""What a benchmark found, and the JSON file it is kept in."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.errors import DataError

FORMAT = 1
HIGHER, LOWER = "higher", "lower"


class NotMeasured(Exception):
    """A benchmark cannot run here; the message says why."""


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Attributes:
        name: says what is divided by what, or which contestant it is of.
        value: median over the rounds.
        unit: ``x`` for ratios, else e.g. ``records/s``, ``s``, ``MB``, ``%``.
        low, high: first and third quartile over the rounds; both ``value`` where there was one round only.
        better: ``higher``, ``lower``, or "" for figures that are neither.
        rounds: how many values the median was taken of.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    better: str = ""
    rounds: int = 1

    def shown(self) -> str:
        """Value, unit and spread as text."""
        text = f"{number(self.value)} {self.unit}" if self.unit != "x" else f"{number(self.value)} ×"
        return text if self.rounds < 2 else f"{text}  [{number(self.low)}, {number(self.high)}]"


@dataclass
class Outcome:
    """Result of one benchmark.

    Attributes:
        ratios: contestants against each other; what survives a change of machine.
        figures: rates, seconds and bytes of this machine.
        checks: what was asserted about the contestants' outputs before they were timed.
        notes: what a reader of the numbers must know.
        settings: sizes; two outcomes are compared only where these are equal.
        seconds: how long the benchmark took.
    """

    ratios: list[Figure] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def find(self, name: str) -> Figure | None:
        """The ratio or figure of that name, None where it was not measured."""
        return next((figure for figure in [*self.ratios, *self.figures] if figure.name == name), None)

    def text(self, name: str) -> str:
        """The whole outcome for a terminal, ratios first."""
        lines = [f"{name}  ({self.seconds:.0f} s)"]
        width = max((len(figure.name) for figure in [*self.ratios, *self.figures]), default=0)
        lines += [f"  {figure.name:<{width}}  {figure.shown()}" for figure in [*self.ratios, *self.figures]]
        lines += [f"  checked: {check}" for check in self.checks]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


@dataclass
class Report:
    """All outcomes of one run of ``python -m benchmarks``.

    Attributes:
        date: ISO 8601.
        machine: see :func:`benchmarks.harness.machine.describe_machine`.
        options: ``device``, ``quick``, ``full`` and the like.
        outcomes: benchmark → outcome; of another system than the default one ``NAME --model SYSTEM``.
        failures: benchmark → why it has none.
    """

    date: str
    machine: dict[str, Any]
    options: dict[str, Any]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def write(self, path: str | os.PathLike) -> None:
        """Write as JSON, atomically."""
        write_json(path, {"format": FORMAT, **dataclasses.asdict(self)})


def read_report(path: str | os.PathLike) -> Report:
    """What :meth:`Report.write` wrote.

    Raises:
        DataError: missing, or not such a file.
    """
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise DataError(f"{path}: not a result of `python -m benchmarks … --json` in format {FORMAT}; measure again")
    try:
        outcomes = {name: _outcome(entry) for name, entry in values["outcomes"].items()}
        return Report(values["date"], values["machine"], values["options"], outcomes, values["failures"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{Path(path)}: incomplete ({error!r}); measure again") from None


def _outcome(entry: dict[str, Any]) -> Outcome:
    figures = {key: [Figure(**values) for values in entry[key]] for key in ("ratios", "figures")}
    return Outcome(**{**entry, **figures})


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"
