"""Frequent words of reports."""

import pytest

pytest.importorskip("matplotlib")

from cmelt_plugin.evaluation.plots.style import to_svg  # noqa: E402
from cmelt_plugin.evaluation.plots.words import frequency_figure, word_counts  # noqa: E402


def test_words_count_once_per_report_and_weigh_by_records():
    counts = word_counts(["sinus rhythm sinus", "the rhythm 12"], [3, 2])
    assert counts == {"sinus": 3, "rhythm": 5}
    assert "rhythm" in to_svg(frequency_figure(counts.most_common(), 5, "t"))
