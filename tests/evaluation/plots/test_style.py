"""What all pictures share."""

import builtins
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.evaluation.plots.curves import training_curve  # noqa: E402
from cmelt_plugin.evaluation.plots.style import new_figure, to_svg  # noqa: E402

CURVE = (np.array([10, 20, 30]), np.array([3.0, 2.0, 1.5]))


def svg_text(figure):
    return " ".join(ElementTree.fromstring(to_svg(figure)).itertext())


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
