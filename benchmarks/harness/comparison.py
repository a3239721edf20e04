"""Two runs of the benchmarks: what became faster or slower by more than the spread of either."""

from __future__ import annotations

from benchmarks.harness.machine import one_line
from benchmarks.harness.outcome import HIGHER, Figure, Outcome, Report, number

SAME_MACHINE = ("cpu", "cores", "threads", "gpu")
TOLERANCE = 0.03
"""Changes below 3 % are never called anything, however small the spread."""
TOLERANCE_SINGLE = 0.10
"""The same where either value was measured once, so that its spread is not known."""
SPREADS = 1.5
"""A change counts when it is larger than this many times the interquartile ranges of both runs together."""


def compare(old: Report, new: Report) -> tuple[list[str], list[str]]:
    """Text of a comparison, and the regressions in it as ``benchmark: figure``.

    Ratios are compared always; rates, seconds and bytes only between runs on the same kind of machine.
    """
    same = all(old.machine.get(key) == new.machine.get(key) for key in SAME_MACHINE)
    lines = [f"compared with {old.date}: {one_line(old.machine)}"]
    if not same:
        lines.append("  another machine or number of threads: only ratios are compared")
    regressions: list[str] = []
    for name, outcome in new.outcomes.items():
        before = old.outcomes.get(name)
        if before is None:
            lines.append(f"{name}: not in the old file")
        elif before.settings != outcome.settings:
            changed = sorted(
                key for key in {**before.settings, **outcome.settings} if before.settings.get(key) != outcome.settings.get(key)
            )
            lines.append(f"{name}: measured with other settings ({', '.join(changed)}), not compared")
        else:
            lines.append(name)
            regressions += [f"{name}: {figure}" for figure in _compare_one(before, outcome, same, lines)]
    lines += [f"{name}: measured before, missing now" for name in old.outcomes if name in new.failures]
    regressions += [f"{name}: no result" for name in old.outcomes if name in new.failures]
    lines.append(f"regressions: {'; '.join(regressions) if regressions else 'none'}")
    return lines, regressions


def change(before: Figure, after: Figure) -> tuple[float, str]:
    """Relative change of the median, and ``better``, ``worse`` or "" where it is within the spread, or tiny."""
    relative = after.value / before.value - 1 if before.value else float("inf") * (after.value > 0)
    spread = SPREADS * (before.high - before.low + after.high - after.low)
    tolerance = TOLERANCE if min(before.rounds, after.rounds) > 1 else TOLERANCE_SINGLE
    if not before.better or abs(after.value - before.value) <= spread or abs(relative) < tolerance:
        return relative, ""
    return relative, "better" if (after.value > before.value) == (before.better == HIGHER) else "worse"


def _compare_one(old: Outcome, new: Outcome, same_machine: bool, lines: list[str]) -> list[str]:
    """Add a line per figure that both have; return the names of those that became worse."""
    worse = []
    figures = [*new.ratios, *(new.figures if same_machine else [])]
    for figure in figures:
        before = old.find(figure.name)
        if before is None or before.unit != figure.unit:
            continue
        relative, verdict = change(before, figure)
        unit = "×" if figure.unit == "x" else figure.unit
        told = f"{number(before.value)} → {number(figure.value)} {unit}  {relative:+.1%}"
        lines.append(f"  {figure.name}  {told}{'  ' + verdict.upper() if verdict else ''}")
        if verdict == "worse":
            worse.append(figure.name)
    return worse
