"""The course of training."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.evaluation.plots.curves import overlaid_curves, training_curve  # noqa: E402

CURVE = (np.array([10, 20, 30]), np.array([3.0, 2.0, 1.5]))


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_training_curve_has_both_curves_and_the_bar():
    figure = training_curve(CURVE, (np.array([30]), np.array([1.8])), "Loss", "nats", bar=1.0)
    axes = figure.axes[0]
    assert labels(axes) == ["training", "validation", "bar 1"]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.column_stack(CURVE))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("update", "nats")


def test_training_curve_without_validation():
    empty = (np.array([], dtype=int), np.array([]))
    assert labels(training_curve(CURVE, empty, "Loss", "nats").axes[0]) == ["training"]


def test_overlaid_curves_are_told_apart_without_colour():
    axes = overlaid_curves({"a": CURVE, "b": CURVE}, "t", "u", logarithmic=True).axes[0]
    assert axes.get_yscale() == "log"
    assert len({line.get_linestyle() for line in axes.lines}) == 2
