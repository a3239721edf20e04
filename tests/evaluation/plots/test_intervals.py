"""Areas with intervals."""

import pytest

pytest.importorskip("matplotlib")

from cmelt_plugin.evaluation.plots.intervals import interval_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.style import to_svg  # noqa: E402


def test_classes_and_their_positives_stand_beside_the_intervals():
    svg = to_svg(interval_figure({"AFIB": 0.9, "PSVT": 0.7}, {"AFIB": (0.8, 0.95)}, {"AFIB": 40, "PSVT": 2}, 0.8, "t"))
    assert "AFIB (n = 40)" in svg and "PSVT (n = 2)" in svg and "macro 0.800" in svg
