"""One result class by class: areas with intervals, curves, confusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmelt_plugin.evaluation.plots.classification import roc_figure
from cmelt_plugin.evaluation.plots.confusion import confusion_figure, label_confusion
from cmelt_plugin.evaluation.plots.intervals import FEW_POSITIVES, interval_figure
from cmelt_plugin.evaluation.plots.precision_recall import precision_recall_figure
from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Picture, Section, SideBySide
from cmelt_plugin.evaluation.report.descriptions import heading
from cmelt_plugin.evaluation.result_files import Result, Scores, StoredResult

MAX_CURVES = 8
WITH_CLASSES = ("finetune", "linear_probe", "zero_shot")


def with_curves(results: Sequence[StoredResult]) -> list[StoredResult]:
    """The results whose classes are shown: of linear probes that differ in the fraction alone, the largest fraction."""
    chosen: dict[tuple[str, ...], StoredResult] = {}
    for stored in results:
        result = stored.result
        if result.kind not in WITH_CLASSES:
            continue
        others = {key: value for key, value in result.settings.items() if key not in ("fraction", "n_train")}
        key: tuple[str, ...] = (str(stored.folder),)
        if result.kind == "linear_probe":
            key = (result.model, result.data_set, result.label_set, result.split, repr(sorted(others.items())))
        other = chosen.get(key)
        if other is None or result.settings.get("fraction", 1.0) > other.result.settings.get("fraction", 1.0):
            chosen[key] = stored
    return list(chosen.values())


def classes_section(stored: StoredResult) -> Section | None:
    """Curves per class of one result; None where scores were not kept."""
    result, scores = stored.result, stored.scores()
    if scores is None or not result.per_class:
        return None
    areas = {name: entry["auc"] for name, entry in result.per_class.items() if np.isfinite(entry.get("auc", np.nan))}
    if not areas:
        return None
    positives = {name: int(entry.get("positives", 0)) for name, entry in result.per_class.items()}
    precision = {name: entry["auprc"] for name, entry in result.per_class.items() if name in areas and "auprc" in entry}
    intervals = {name: result.intervals[f"auc/{name}"] for name in areas if f"auc/{name}" in result.intervals}
    macro = result.metrics.get("macro_auc", float(np.mean(list(areas.values()))))
    best_first = sorted(areas, key=lambda name: -areas[name])
    text = f"{result.n_records} records of {result.n_subjects} subjects, split {result.split}."
    few = [name for name in best_first if positives[name] < FEW_POSITIVES]
    if few:
        text += f" Classes with fewer than {FEW_POSITIVES} positive records, whose areas say little: {', '.join(few)}."
    if result.excluded:
        text += f" Left out for want of positive or negative records: {', '.join(result.excluded)}."
    blocks: list[Block] = [Paragraph(text), *(Paragraph(note) for note in result.notes)]
    figures = [Picture(interval_figure(areas, intervals, positives, macro, "AUC per class"), "area per class, 95 % interval")]
    groups = np.array_split(np.array(best_first), max(-(-len(best_first) // MAX_CURVES), 1))
    for group in groups:
        chosen = {str(name): areas[str(name)] for name in group}
        title = "ROC" if len(groups) == 1 else f"ROC, {group[0]} to {group[-1]}"
        figures.append(Picture(roc_figure(scores.labels, scores.scores, scores.names, chosen, title), title))
    for group in groups:
        chosen = {str(name): precision[str(name)] for name in group if str(name) in precision}
        if chosen:
            title = "Precision–recall" if len(groups) == 1 else f"Precision–recall, {group[0]} to {group[-1]}"
            curves = precision_recall_figure(scores.labels, scores.scores, scores.names, chosen, title)
            figures.append(Picture(curves, title))
    blocks.append(SideBySide(figures))
    blocks += confusion_blocks(result, scores)
    return Section(heading(result), blocks)


def confusion_blocks(result: Result, scores: Scores) -> list[Block]:
    """Confusion of the label set at thresholds chosen on validation data; nothing without such thresholds."""
    thresholds = np.array([result.per_class.get(name, {}).get("threshold", np.nan) for name in scores.names], dtype=float)
    known = np.flatnonzero(np.isfinite(thresholds))
    if len(known) < 2:
        return []
    names = [scores.names[int(index)] for index in known]
    labels = scores.labels[:, known]
    decisions = scores.scores[:, known] >= thresholds[known]
    ours = confusion_figure(label_confusion(labels, decisions), names, "Confusion")
    truth = confusion_figure(label_confusion(labels, np.nan_to_num(labels) > 0.5), names, "Truth", "the record has, too")
    return [
        Paragraph(
            "Of the records that have the class of a row, the share for which the model says the class of a column "
            "(thresholds chosen on validation data). Classes occur together; the second matrix shows how often they truly do."
        ),
        SideBySide([Picture(ours, "confusion of the classes"), Picture(truth, "co-occurrence of the classes")]),
    ]
