"""Tables of grounding, from results alone."""

from __future__ import annotations

from collections.abc import Sequence

from cmelt_plugin.evaluation.ground.scores import CHANCES
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.side_by_side import interval_cell, key
from cmelt_plugin.tables import TextTable, percent

NAMES = {"pointing": "pointing game", "iou": "IoU"}


def grounding_table(named: Sequence[tuple[str, Result]]) -> TextTable:
    """One row per set and finding, after one for all findings of the set."""
    head = ["set", "finding", "sentences"]
    for text in NAMES.values():
        head += [text, *(f"{text}, {chance}" for chance in CHANCES.values())]
    rows = []
    for name, result in named:
        count = sum(values["positives"] for values in result.per_class.values())
        lines = [("all", "", count, result.metrics)]
        lines += [(finding, finding, values["positives"], values) for finding, values in result.per_class.items()]
        for text, finding, count, values in lines:
            cells = [name, text, f"{count:.0f}"]
            for metric in NAMES:
                cells.append(interval_cell(result, metric, finding))
                cells += [percent(values.get(key(metric, chance))) for chance in CHANCES]
            rows.append(cells)
    return TextTable("Where sentences look (%)", head, rows)
