"""Classification by the similarity of records to class texts."""

from __future__ import annotations

import numpy as np

from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.evaluation.plots.classification import auc_figure, roc_figure
from cmelt_plugin.evaluation.report.blocks import Paragraph, Picture, Section, SideBySide
from examples.demo.embedded_split import EmbeddedSplit

MAX_CURVES_PER_ROC = 8


def zero_shot_section(embedded: EmbeddedSplit, bar: float | None = None) -> Section:
    """ROC curves and areas per class, from the similarity of records to class texts."""
    if embedded.labels is None or embedded.scores is None:
        raise ValueError("the split has no labels with class texts")
    auc = macro_auc(embedded.labels, embedded.scores, embedded.names)
    best_first = sorted(auc.per_class, key=lambda name: -auc.per_class[name])
    positives = {name: int(np.nansum(embedded.labels[:, embedded.names.index(name)])) for name in best_first}
    figures = [Picture(auc_figure(auc.per_class, positives, auc.macro, bar), "area under the ROC curve of each class")]
    n_figures = -(-len(best_first) // MAX_CURVES_PER_ROC)
    for names in np.array_split(np.array(best_first), max(n_figures, 1)):
        part = {str(name): auc.per_class[str(name)] for name in names}
        title = "ROC" if n_figures == 1 else f"ROC, {names[0]} to {names[-1]}"
        figures.append(Picture(roc_figure(embedded.labels, embedded.scores, embedded.names, part, title), title))
    texts = [
        Paragraph(
            "No class was trained: the score of a record for a class is the similarity of its embedding to that of the "
            "class's texts."
        )
    ]
    if auc.excluded:
        texts.append(Paragraph(f"Left out for want of positive or negative records: {', '.join(auc.excluded)}."))
    return Section("Zero-shot classification", [*texts, SideBySide(figures)])
