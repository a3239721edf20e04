"""Figures over the course of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import BLUE, ORANGE, PALETTE, new_figure, plain, plain_names

Curve = tuple[np.ndarray, np.ndarray]  # updates [n], values [n]


def training_curve(training: Curve, validation: Curve | None, title: str, unit: str, bar: float | None = None) -> Any:
    """One metric in training (every log interval) and on the validation split (every few epochs).

    Args:
        training, validation: updates and values.
        title: above the axes.
        unit: label of the vertical axis, unit included.
        bar: horizontal line the metric should reach.
    """
    figure = new_figure(4.4, 2.9)
    axes = figure.add_subplot()
    axes.plot(*training, color=BLUE, linewidth=1.4, label="training")
    if validation is not None and len(validation[0]):
        axes.plot(*validation, color=ORANGE, linewidth=1.4, marker="o", markersize=4, label="validation")
    if bar is not None:
        axes.axhline(bar, color="#444444", linewidth=1, linestyle="--", label=f"bar {bar:g}")
    _label(axes, title, unit)
    axes.legend()
    return figure


def overlaid_curves(curves: dict[str, Curve], title: str, unit: str, logarithmic: bool = False) -> Any:
    """Several metrics of one kind in the same axes."""
    figure = new_figure(4.4, 2.9)
    axes = figure.add_subplot()
    styles: Sequence[str] = ("-", "--", "-.", ":")
    for index, (name, curve) in enumerate(curves.items()):
        axes.plot(*curve, color=PALETTE[index % 8], linestyle=styles[index % 4], linewidth=1.4, label=plain_names([name])[0])
    if logarithmic:
        from matplotlib.ticker import LogFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatter())  # the default writes powers as mathematics
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    _label(axes, title, unit)
    if len(curves) > 1:
        axes.legend()
    return figure


def _label(axes: Any, title: str, unit: str) -> None:
    axes.set_title(plain(title), loc="left")
    axes.set_xlabel("update")
    axes.set_ylabel(unit)
    axes.set_xlim(left=0)
