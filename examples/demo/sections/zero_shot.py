"""Classification by the similarity of records to class texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmelt_plugin.evaluation.plots.classification import auc_columns, auc_figure, roc_figure
from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Picture, Section, SideBySide, Table
from examples.demo.class_areas import MIN_RECORDS, ClassAreas
from examples.demo.embedded_split import EmbeddedSplit

CURVES_PER_ROC = 8
LOWEST = 10
FROM_REPORTS = (
    "No class was trained: the score of a record for a class is the similarity of its embedding to that of the class's texts."
)
FROM_LABELS = (
    "The score of a record for a class is the similarity of its embedding to that of the class's texts; no output stands for a "
    "class. Beside reports this model has learnt from the labels of the training records, by these texts, so that on synthetic "
    "records this is no zero-shot classification. On real ones it is: none was ever seen."
)


def zero_shot_section(embedded: EmbeddedSplit, areas: ClassAreas, learns_labels: bool, bar: float | None = None) -> Section:
    """ROC curves and areas per class, from the similarity of records to class texts."""
    if embedded.labels is None or embedded.scores is None:
        raise ValueError("the split has no labels with class texts")
    best_first = sorted(areas.per_class, key=lambda name: -areas.per_class[name])
    blocks: list[Block] = [Paragraph(FROM_LABELS if learns_labels else FROM_REPORTS)]
    if areas.left_out:
        blocks.append(
            Paragraph(f"Left out for want of {MIN_RECORDS} positive or negative records: {', '.join(areas.left_out)}.")
        )
    if best_first:
        figure = auc_figure(areas.per_class, areas.positives, areas.macro, bar)
        blocks.append(Picture(figure, "area under the ROC curve of each class", wide=auc_columns(len(best_first)) > 1))
        blocks.append(SideBySide([_roc(embedded, areas, *group) for group in _groups(best_first, areas.positives).items()]))
    if len(best_first) > LOWEST:
        head = [f"the {LOWEST} lowest", "what it is", "positive records", "AUC"]
        rows = [
            [name, embedded.texts[name][0], areas.positives[name], f"{areas.per_class[name]:.3f}"]
            for name in best_first[: -LOWEST - 1 : -1]
        ]
        blocks.append(Table(head, rows, numeric=[2, 3]))
    return Section("Classification by class texts", blocks)


def _groups(best_first: Sequence[str], positives: Mapping[str, int]) -> dict[str, Sequence[str]]:
    """Title of a ROC figure → its classes: all where they are few, else the most frequent and those of the lowest areas."""
    if len(best_first) <= CURVES_PER_ROC:
        return {"ROC": best_first}
    frequent = sorted(best_first, key=lambda name: -positives[name])[:CURVES_PER_ROC]
    return {"ROC, most frequent": frequent, "ROC, lowest areas": best_first[-CURVES_PER_ROC:]}


def _roc(embedded: EmbeddedSplit, areas: ClassAreas, title: str, names: Sequence[str]) -> Picture:
    assert embedded.labels is not None and embedded.scores is not None
    aucs = {name: areas.per_class[name] for name in names}
    return Picture(roc_figure(embedded.labels, embedded.scores, embedded.names, aucs, title), title)
