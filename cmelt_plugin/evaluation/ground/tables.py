"""Tables of grounding, from results alone."""

from __future__ import annotations

from collections.abc import Sequence

from cmelt_plugin.evaluation.ground.scores import CHANCES
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.side_by_side import interval_cell, key
from cmelt_plugin.evaluation.tables import TextTable, percent

NAMES = {"pointing": "pointing game", "iou": "IoU"}


def grounding_table(named: Sequence[tuple[str, Result]]) -> TextTable:
    """One row per set and finding, after one for all findings of the set."""
    head = ["set", "finding", "sentences"]
    for text in NAMES.values():
        head += [text, *(f"{text}, {chance}" for chance in CHANCES.values())]
    rows = []
    for name, result in named:
        every = sum(values["positives"] for values in result.per_class.values())
        lines = [("all", "", every)]
        lines += [(finding, f"/{finding}", values["positives"]) for finding, values in result.per_class.items()]
        for finding, ending, count in lines:
            cells = [name, finding, f"{count:.0f}"]
            for metric in NAMES:
                cells.append(interval_cell(result, f"{metric}{ending}"))
                cells += [percent(result.metrics.get(key(f"{metric}{ending}", chance))) for chance in CHANCES]
            rows.append(cells)
    return TextTable("Where sentences look (%)", head, rows)
