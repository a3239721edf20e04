"""The comparison of readers and models as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmelt_plugin.data.code_test_annotations import CLASSES
from cmelt_plugin.evaluation.human_readers.rows import Row
from cmelt_plugin.evaluation.result_files import Result


def table_of(rows: Sequence[Row], results: Sequence[Result | None]) -> str:
    """The comparison as text, metrics × 100."""
    width = max(len(row.name) for row in rows) + 2
    lines = [f"{'':{width}}macro AUC (95 % interval)   " + "".join(f"{'AUC ' + name:>11}" for name in CLASSES) + "  what it is"]
    for row, result in zip(rows, results):
        if result is None:
            lines.append(f"{row.name:{width}}{'–':28}" + f"{'–':>11}" * len(CLASSES) + f"  {row.kind}")
            continue
        low, high = result.intervals.get("macro_auc", (np.nan, np.nan))
        macro = f"{_percent(result.metrics['macro_auc'])} ({_percent(low)} – {_percent(high)})"
        areas = "".join(f"{_percent(result.per_class[name]['auc']):>11}" for name in CLASSES)
        lines.append(f"{row.name:{width}}{macro:28}{areas}  {row.kind}")
    lines.append("")
    for row, result in zip(rows, results):
        if result is not None and row.comparable:
            lines.append(f"{row.name}, {row.kind}: sensitivity / specificity / F1")
            for name in CLASSES:
                metrics = result.per_class[name]
                values = " / ".join(_percent(metrics[key]) for key in ("sensitivity", "specificity", "f1"))
                lines.append(f"  {name:6} {values}")
    lines.append("")
    counts = next(result.per_class for result in results if result is not None)
    positives = ", ".join(f"{name} {counts[name]['positives']}" for name in CLASSES)
    lines.append(f"N = {len(rows[0].labels)} patients, one tracing each; positives: {positives}")
    comparable = [row.name for row in rows if row.comparable and not row.missing]
    excluded = sorted({name for result in results if result is not None for name in result.excluded}, key=CLASSES.index)
    if excluded:
        lines.append(f"left out of the means for want of positives or negatives: {', '.join(excluded)}")
    lines.append(f"comparable with each other (yes/no decisions): {'; '.join(comparable)}")
    scored = [row.name for row in rows if not row.comparable]
    if scored:
        lines.append(f"not comparable with those (scores rank patients, decisions do not): {'; '.join(scored)}")
    for row in rows:
        for remark in filter(None, [*row.remarks, row.missing]):
            lines.append(f"note: {row.name}, {row.kind}: {remark}")
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.2f}"
