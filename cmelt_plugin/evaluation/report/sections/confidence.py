"""What a model's confidence is worth: the tables, a reliability diagram, and risk against coverage."""

from __future__ import annotations

import numpy as np

from cmelt_plugin.evaluation.confidence.evaluate import BEST, RAW
from cmelt_plugin.evaluation.confidence.tables import confidence_tables
from cmelt_plugin.evaluation.metrics.calibration import Reliability
from cmelt_plugin.evaluation.plots.confidence import reliability_figure, risk_figure
from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Picture, Section, Table
from cmelt_plugin.evaluation.report.descriptions import heading
from cmelt_plugin.evaluation.result_files import CONFIDENCE_FILE, StoredResult
from cmelt_plugin.models.inference.calibration import METHODS

REMEDY = "run the evaluation again"


def confidence_section(stored: StoredResult) -> Section | None:
    """What one result of the kind ``confidence`` says; None for other kinds.

    Raises:
        DataError: the arrays beside it are damaged.
    """
    result = stored.result
    if result.kind != "confidence":
        return None
    blocks: list[Block] = []
    for table in confidence_tables([result]):
        rows = [row[1:] for row in table.rows]  # the heading names the model
        blocks += [Paragraph(f"{table.title}:"), Table(table.head[1:], rows, numeric=range(1, len(table.head) - 1))]
    blocks += [Paragraph(note) for note in result.notes]
    curves = {}
    for method in (RAW, *METHODS):
        if f"{method}/macro_ece" in result.metrics:
            arrays = stored.arrays(CONFIDENCE_FILE, (f"reliability_{method}",), REMEDY)
            if arrays is not None:
                curves[method] = Reliability(*arrays[0])
    if curves:
        figure = reliability_figure(curves, "Reliability")
        description = f"probabilities by {', '.join(curves)} against how often classes are present"
        blocks.append(Picture(figure, description, "All classes together; bins of fewer than ten cells are left out."))
    names = [name[len("augrc/") :] for name in result.metrics if name.startswith("augrc/")]
    names = [name for name in names if f"loss_low/{name}" in result.metrics]  # uncertainties, not bounds
    if names:
        risks = stored.arrays(CONFIDENCE_FILE, [*(f"risk_{name}" for name in names), "risk_best"], REMEDY)
        if risks is not None:
            figure = risk_figure(dict(zip(names, map(np.asarray, risks))), risks[-1], "Risk against coverage")
            description = f"wrong decisions among the most certain recordings by {', '.join(names)}"
            blocks.append(Picture(figure, description, f"Below the dashed line is better than chance; {BEST}: dotted."))
    return Section(heading(result), blocks)
