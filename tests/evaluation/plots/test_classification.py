"""ROC curves and areas."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.evaluation.plots.classification import auc_figure, roc_figure  # noqa: E402


def test_roc_has_a_curve_and_an_area_per_class():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2, (30, 3)).astype(float)
    values[0] = np.nan
    figure = roc_figure(values, rng.random((30, 3)), ["A", "B", "C"], {"C": 0.75, "A": 0.5}, "ROC")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["C 0.75", "A 0.50"]
    assert len(figure.axes[0].lines) == 3  # with the diagonal
    with pytest.raises(ValueError, match="told apart"):
        roc_figure(values, values, ["A"], {str(i): 0.5 for i in range(9)}, "ROC")


def test_auc_bars_are_best_first_with_positives():
    figure = auc_figure({"A": 0.6, "B": 0.9}, {"A": 3, "B": 12}, macro=0.75, bar=0.8)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["A (n = 3)", "B (n = 12)"]  # upwards
    assert {"macro 0.750", "bar 0.8"} <= {text.get_text() for text in figure.legends[0].get_texts()}
