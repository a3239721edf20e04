"""The course of a pre-training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmelt_plugin.evaluation.plots.curves import overlaid_curves, training_curve
from cmelt_plugin.evaluation.report.blocks import Block, Picture, Section, SideBySide
from cmelt_plugin.evaluation.report.training_log import INNER, LogLine, curve


def curves_section(lines: Sequence[LogLine], titles: Mapping[str, tuple[str, str]], bars: Mapping[str, float]) -> Section:
    """Losses, accuracies and learning rate over the course of training.

    Args:
        lines: the log.
        titles: logged name → title and unit, in the order of the page; what was not logged is left out.
        bars: logged name → what it should reach.
    """
    blocks: list[Block] = []
    for name, (title, unit) in titles.items():
        training = curve(lines, INNER, name)
        if len(training[0]):
            figure = training_curve(training, curve(lines, "valid", name), title, unit, bars.get(name))
            blocks.append(Picture(figure, f"{title} over the updates of training"))
    rate = curve(lines, INNER, "lr")
    if len(rate[0]):
        blocks.append(Picture(overlaid_curves({"lr": rate}, "Learning rate", "step size"), "learning rate schedule"))
    scale = curve(lines, INNER, "logit_scale")
    if len(scale[0]):
        figure = overlaid_curves({"scale": scale}, "Scale of the similarities", "factor")
        blocks.append(Picture(figure, "learned scale of the contrastive loss"))
    return Section("Training", [SideBySide(blocks)])
