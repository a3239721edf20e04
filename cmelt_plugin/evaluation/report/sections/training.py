"""The course of a training."""

from __future__ import annotations

from collections.abc import Sequence

from cmelt_plugin.evaluation.plots.curves import training_curve
from cmelt_plugin.evaluation.report.blocks import Picture, Section, SideBySide
from cmelt_plugin.evaluation.report.training_log import INNER, LogLine, curve

CURVE_TITLES = {
    "loss": ("Loss", "per record"),
    "macro_auc": ("Macro AUC", "area under the ROC curve"),
    "accuracy": ("Accuracy", "share of decisions"),
    "top1_accuracy": ("Identification", "top-1 accuracy"),
    "lr": ("Learning rate", "step size"),
}


def training_section(name: str, lines: Sequence[LogLine]) -> Section | None:
    """Curves of one training log; None where it holds none."""
    pictures = []
    for key, (title, unit) in CURVE_TITLES.items():
        training, validation = curve(lines, INNER, key), curve(lines, "valid", key)
        if len(training[0]) or len(validation[0]):
            figure = training_curve(training, validation, title, unit)
            pictures.append(Picture(figure, f"{title} over the updates of training"))
    return Section(f"Training: {name}", [SideBySide(pictures)]) if pictures else None
