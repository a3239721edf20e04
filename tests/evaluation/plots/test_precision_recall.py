"""Precision–recall curves."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from cmelt_plugin.evaluation.plots.precision_recall import precision_recall_figure  # noqa: E402


def test_precision_recall_leaves_unknown_labels_out():
    labels = np.array([[1.0], [0.0], [np.nan], [1.0]])
    scores = np.array([[0.9], [0.1], [0.5], [0.8]])
    figure = precision_recall_figure(labels, scores, ["AFIB"], {"AFIB": 1.0}, "t")
    line = next(line for line in figure.axes[0].lines if len(line.get_xdata()) > 2)
    np.testing.assert_allclose(line.get_ydata()[line.get_xdata() > 0], 1.0, atol=0.4)
    chance = [line for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1][0]
    assert chance.get_ydata()[0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at most 8"):
        precision_recall_figure(labels, scores, ["AFIB"], {str(i): 1.0 for i in range(9)}, "t")
