"""Figures and tables with names that are anything but plain words."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.evaluation.plots.classification import auc_figure, roc_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.confusion import confusion_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.curves import overlaid_curves, training_curve  # noqa: E402
from cmelt_plugin.evaluation.plots.intervals import interval_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.precision_recall import precision_recall_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.prediction import Shading, prediction_figure, value_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.similarity import similarity_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.style import to_svg  # noqa: E402
from cmelt_plugin.evaluation.plots.tsne import Projection, tsne_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.words import frequency_figure  # noqa: E402
from cmelt_plugin.tables import latex, markdown, markdown_text  # noqa: E402

NAMES = [
    "$\\frac{1}$ and $",
    "_hidden",
    "100 % <b>|x|</b>",
    "two\nlines",
    "bell\x07 \x1b[31m \x00",
    "half \ud800",
    "{x:d} %s \\alpha",
    "L" * 500,
]
TITLE = "$\\undefined$ _title_ \x00\ud800"
GENERATOR = np.random.default_rng(0)
LABELS = np.tile(np.eye(8), (5, 1))
SCORES = GENERATOR.random((40, 8))
VALUES = {name: 0.4 + index / 20 for index, name in enumerate(NAMES)}
COUNTS = dict.fromkeys(NAMES, 5)
CURVE = (np.arange(1, 5), np.array([1.0, 20.0, 300.0, 0.4]))

SHADES = np.linspace(-1, 1, 6000).reshape(12, 500)

FIGURES: dict[str, Callable[[], Any]] = {
    "roc": lambda: roc_figure(LABELS, SCORES, NAMES, VALUES, TITLE),
    "auc": lambda: auc_figure(VALUES, COUNTS, 0.5),
    "confusion": lambda: confusion_figure(np.eye(8), NAMES, TITLE),
    "curves": lambda: overlaid_curves(dict.fromkeys(NAMES, CURVE), TITLE, "loss", logarithmic=True),
    "training": lambda: training_curve(CURVE, CURVE, TITLE, "loss"),
    "intervals": lambda: interval_figure(VALUES, {NAMES[0]: (0.3, 0.6)}, COUNTS, 0.5, TITLE),
    "precision": lambda: precision_recall_figure(LABELS, SCORES, NAMES, VALUES, TITLE),
    "prediction": lambda: prediction_figure(np.zeros((12, 500)), VALUES, "probability", True, NAMES[:1], TITLE),
    "value": lambda: value_figure(np.zeros((12, 500)), 1.0, (0.5, 2.0), (0, 3), TITLE, TITLE, Shading(SHADES, TITLE)),
    "similarity": lambda: similarity_figure(GENERATOR.random((8, 8)), NAMES, "similarity"),
    "tsne": lambda: tsne_figure(Projection(SCORES[:, :2], np.arange(40) % 8, NAMES, {}, 0), TITLE),
    "words": lambda: frequency_figure([(name, 3) for name in NAMES], 9, TITLE),
}


@pytest.mark.parametrize("kind", FIGURES)
def test_every_name_is_drawn_as_it_is_written(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fonts lack some characters
        figure = FIGURES[kind]()
        svg = to_svg(figure)
    svg.encode("utf-8")
    words = "".join(text + "\n" for text in ElementTree.fromstring(_with_namespace(svg)).itertext())
    if kind not in ("training", "value"):
        assert "$\\frac{1}$ and $" in words
        assert "_hidden" in words
        assert "100 % <b>|x|</b>" in words
        assert "\\x1b[31m \\x00" in words and "half \\ud800" in words
        assert "L" * 40 in words and "L" * 61 not in words
    if kind not in ("auc", "similarity"):
        assert "$\\undefined$ _title_ \\x00\\ud800" in words


def test_logarithmic_axes_have_plain_numbers() -> None:
    svg = to_svg(overlaid_curves({"a": CURVE}, "title", "loss", logarithmic=True))
    assert "mathdefault" not in svg and "$" not in svg
    assert re.search(r">\s*100\s*<", svg)


def _with_namespace(svg: str) -> str:
    return svg if "xmlns:xlink" in svg else svg.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)


def test_tables_stay_tables() -> None:
    text = markdown(["class", "n"], [[name, "1"] for name in NAMES])
    lines = text.splitlines()
    assert len(lines) == 2 + len(NAMES)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)
    assert "\\<b>" in text and "<script" not in markdown_text("<script>").replace("\\<script", "")
    assert markdown_text("heart rate < 60") == "heart rate < 60"
    rows = latex(["class", "n"], [[name, "1"] for name in NAMES]).splitlines()
    assert len(rows) == 8 + len(NAMES) + 1
    text.encode("utf-8")
    "\n".join(rows).encode("utf-8")
