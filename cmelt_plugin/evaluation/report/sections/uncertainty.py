"""What the variances of embeddings are worth: the tables, metrics over bins, and the course with disturbances."""

from __future__ import annotations

import numpy as np

from cmelt_plugin.evaluation.plots.uncertainty import levels_figure, trend_figure
from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Picture, Section, Table
from cmelt_plugin.evaluation.report.descriptions import heading
from cmelt_plugin.evaluation.result_files import UNCERTAINTY_FILE, StoredResult
from cmelt_plugin.evaluation.uncertainty.outcomes import MAE, R2
from cmelt_plugin.evaluation.uncertainty.tables import TITLES, level_names, uncertainty_tables

REMEDY = "run the evaluation again"


def uncertainty_section(stored: StoredResult) -> Section | None:
    """What one result of the kind ``uncertainty`` says; None for other kinds.

    Raises:
        DataError: the arrays beside it are damaged.
    """
    result = stored.result
    if result.kind != "uncertainty":
        return None
    blocks: list[Block] = []
    for table in uncertainty_tables(result):
        blocks += [Paragraph(f"{table.title}:"), Table(table.head, table.rows, numeric=range(2, len(table.head)))]
    blocks += [Paragraph(note) for note in result.notes]
    binned = stored.arrays(UNCERTAINTY_FILE, ("names", "bins"), REMEDY)
    if binned is not None:
        units = {MAE: "mean absolute error", R2: "R²"}
        groups: dict[str, dict[str, np.ndarray]] = {}
        for name, values in zip(binned[0].tolist(), binned[1]):
            groups.setdefault(units.get(name.rsplit(": ", 1)[-1], "share"), {})[name] = values
        for unit, trends in groups.items():
            description = f"{', '.join(trends)} in ten bins of rising uncertainty"
            blocks.append(Picture(trend_figure(trends, "By uncertainty", unit), description, "As many records in each bin."))
    for name in result.settings.get("levels", {}):
        levels = stored.arrays(UNCERTAINTY_FILE, (name,), REMEDY)
        if levels is not None:
            quartiles = np.percentile(levels[0], [25, 50, 75], axis=0)
            figure = levels_figure(level_names(result, name), quartiles, f"Uncertainty with {TITLES[name]}")
            blocks.append(Picture(figure, f"uncertainty of recordings with {TITLES[name]}", f"{len(levels[0])} records."))
    return Section(heading(result), blocks)
