"""Figures show what they are given."""

import builtins
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.data.leads import LEADS  # noqa: E402
from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.evaluation.plots import ecg as ecg_module  # noqa: E402
from cmelt_plugin.evaluation.plots.classification import auc_figure, roc_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.curves import overlaid_curves, training_curve  # noqa: E402
from cmelt_plugin.evaluation.plots.ecg import ecg_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.similarity import similarity_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.style import new_figure, to_svg  # noqa: E402

CURVE = (np.array([10, 20, 30]), np.array([3.0, 2.0, 1.5]))


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def svg_text(figure):
    return " ".join(ElementTree.fromstring(to_svg(figure)).itertext())


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


def leads_of_constants():
    """Lead number i is a step from 0 to i/20 mV at sample 4000."""
    ecg = np.zeros((12, 5000))
    ecg[:, 4000:] = np.arange(12)[:, None] / 20
    return ecg


def traces(figure, colour):
    return [line for line in figure.axes[0].lines if line.get_color() == colour and len(line.get_xdata()) > 10]


def test_ecg_layout_is_twelve_strips_and_a_rhythm_strip():
    figure = ecg_figure(leads_of_constants())
    strips = traces(figure, ecg_module.INK)
    assert len(strips) == 13
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names == [*(lead for row in ecg_module.LAYOUT for lead in row), "II (rhythm strip)"]
    assert sorted(names[:12]) == sorted(LEADS)
    # Third strip of the first row: V1 from 5 s to 7.5 s, 25 mm per second.
    assert strips[2].get_xdata()[[0, -1]] == pytest.approx([125, 187.45])
    assert figure.axes[0].get_aspect() == 1  # a millimetre up is as long as a millimetre across


def test_ecg_is_drawn_at_ten_millimetres_per_millivolt():
    strips = traces(ecg_figure(leads_of_constants()), ecg_module.INK)
    for strip, lead in ((strips[3], "V4"), (strips[7], "V5"), (strips[11], "V6")):
        height = strip.get_ydata()
        assert height[-1] - height[0] == pytest.approx(LEADS.index(lead) / 20 * 10)


def test_reconstruction_is_drawn_where_something_was_hidden():
    ecg = np.zeros((12, 5000))
    masked = np.zeros(5000, dtype=bool)
    masked[100:140] = masked[3000:3040] = True
    masked_leads = np.array([lead == "V2" for lead in LEADS])
    figure = ecg_figure(ecg, masked=masked, masked_leads=masked_leads, reconstruction=ecg + 0.5)
    drawn = dict(zip([lead for row in ecg_module.LAYOUT for lead in row], traces(figure, ecg_module.BLUE)))
    seen = {lead: np.flatnonzero(~np.isnan(line.get_ydata())) for lead, line in drawn.items()}
    assert seen["I"].tolist() == list(range(100, 140))
    assert seen["V1"].tolist() == list(range(500, 540))  # its strip begins at sample 2500
    assert len(seen["V2"]) == 1250
    assert len(seen["V6"]) == 0
    assert "reconstructed" in labels(figure.axes[0]) and "hidden from the model" in labels(figure.axes[0])


def test_short_record_and_wrong_number_of_leads():
    ecg_figure(np.zeros((12, 3500)))
    with pytest.raises(ValueError, match="12 leads"):
        ecg_figure(np.zeros((11, 5000)))


def test_similarity_names_each_group_once():
    figure = similarity_figure(np.eye(5), ["SR", "SR", "AFIB", "AFIB", "PACED"])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["SR", "AFIB", "PACED"]
    assert figure.axes[0].get_xticks().tolist() == [0.5, 2.5, 4]
    with pytest.raises(ValueError, match="pairs"):
        similarity_figure(np.eye(4), ["SR"])


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


def test_svg_is_self_contained_and_repeatable():
    figure = training_curve(CURVE, None, "Loss & more", "nats")
    svg = to_svg(figure)
    assert "Loss & more" in svg_text(figure)
    assert svg == to_svg(training_curve(CURVE, None, "Loss & more", "nats"))
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)
    assert "DejaVu" not in svg and '<g id="' not in svg


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'cmelt-plugin\[viz\]'"):
        new_figure(1, 1)
