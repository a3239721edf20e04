"""The tables of ``benchmarks/README.md``, made from result files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.bars import BARS
from benchmarks.harness.machine import one_line
from benchmarks.harness.outcome import Figure, Outcome, Report
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.errors import DataError
from cmelt_plugin.tables import markdown

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NOT_YET = "not measured yet"


def render(reports: Sequence[Report]) -> str:
    """Bars with what was measured, and every ratio, as Markdown.

    Where several reports have the same benchmark on the same kind of device, the last one counts.

    Raises:
        DataError: a report was measured with ``--quick``.
    """
    for report in reports:
        if report.options.get("quick"):
            raise DataError(f"result of {report.date}: measured with --quick, whose numbers mean nothing; measure again")
    parts = []
    for on_gpu, title in ((False, "CPU"), (True, "GPU")):
        chosen = [report for report in reports if _on_gpu(report) == on_gpu]
        parts.append(f"### {title}\n\n{_origin(chosen)}\n\n{_bars(chosen, on_gpu)}")
        ratios = _ratios(chosen)
        if ratios:
            parts.append(f"All ratios; in brackets the quartiles over the rounds.\n\n{ratios}")
        latest = _latest(chosen)
        notes = [f"- {name}: {note}" for name, outcome in latest.items() for note in outcome.notes]
        failures = {name: reason for report in chosen for name, reason in report.failures.items() if name not in latest}
        notes += [f"- {name}: {reason}" for name, reason in failures.items()]
        if notes:
            parts.append("\n".join(notes))
    return "\n\n".join(parts) + "\n"


def write_into(path: str | os.PathLike, tables: str) -> None:
    """Put the tables between the two marks of a Markdown file.

    Raises:
        DataError: the file or its marks are missing.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"{path}: needs the lines {BEGIN} and {END}, between which the tables go")
    with atomic_path(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")


def _on_gpu(report: Report) -> bool:
    return str(report.options.get("device", "cpu")).startswith("cuda")


def _origin(reports: Sequence[Report]) -> str:
    if not reports:
        return f"{NOT_YET.capitalize()}."
    latest = _latest(reports)
    lines = []
    for report in reports:
        counting = [name for name, outcome in report.outcomes.items() if latest[name] is outcome]
        if counting:
            lines.append(f"{report.date[:10]}: {one_line(report.machine)} ({', '.join(counting)})")
    return "\n".join(f"- {line}" for line in lines) if len(lines) > 1 else lines[0]


def _latest(reports: Sequence[Report]) -> dict[str, Outcome]:
    return {name: outcome for report in reports for name, outcome in report.outcomes.items()}


def _bars(reports: Sequence[Report], on_gpu: bool) -> str:
    rows = []
    latest = _latest(reports)
    for bar in (bar for bar in BARS if bar.on_gpu == on_gpu):
        outcome = latest.get(bar.benchmark)
        figure = bar.figure(outcome) if outcome is not None else None
        measured = NOT_YET if figure is None else _cell(figure)
        verdict = "" if figure is None else "reached" if bar.reached(figure) else "**missed**"
        rows.append([bar.what, bar.measured_as, bar.text(), measured, verdict])
    return markdown(["what", "measured as", "bar", "measured", ""], rows, numeric=False).rstrip("\n")


def _ratios(reports: Sequence[Report]) -> str:
    latest = _latest(reports)
    rows = [[name, ratio.name, _cell(ratio)] for name in latest for ratio in latest[name].ratios]
    return markdown(["benchmark", "ratio", ""], rows, numeric=False).rstrip("\n") if rows else ""


def _cell(figure: Figure) -> str:
    return " ".join(figure.shown().split())
