"""ROC curves and areas."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.evaluation.plots.classification import auc_columns, auc_figure, roc_figure  # noqa: E402


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
    assert len(figure.axes) == 1
    assert {"macro 0.750", "bar 0.8"} <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_many_classes_stand_in_columns_that_read_downwards():
    assert [auc_columns(n) for n in (0, 20, 21, 61, 200)] == [1, 1, 2, 3, 3]
    aucs = {f"C{i:02d}": 0.99 - i / 100 for i in range(45)}
    figure = auc_figure(aucs, dict.fromkeys(aucs, 7), macro=0.77)
    shown = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()[::-1]]
    assert shown == [f"{name} (n = 7)" for name in aucs]
    assert [len(axes.patches) for axes in figure.axes] == [15, 15, 15]
    assert all(axes.get_ylim() == figure.axes[0].get_ylim() for axes in figure.axes)
    assert [max(axes.get_yticks()) for axes in figure.axes] == [14, 14, 14]  # the best at the top
