"""Where a model looks for the sentences of a report, below the ECG."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.evaluation.plots.ecg import PAPER_HEIGHT, PAPER_WIDTH  # noqa: E402
from cmelt_plugin.evaluation.plots.grounding import COLOURS, STRIP, SentenceAttention, grounding_figure  # noqa: E402


def peak(step, steps=312):
    weights = np.full(steps, 0.01)
    weights[step] = 0.5
    return weights


def test_strips_stand_below_the_ecg_on_its_time_axis():
    sentences = [
        SentenceAttention("sinus rhythm", peak(0)),
        SentenceAttention("a <pvc> $x$", peak(100), [(1600, 1700), (4900, 5000)]),
    ]
    figure = grounding_figure(np.zeros((12, 5000)), sentences, 16, title="Recording 7")
    (axes,) = figure.axes
    first, second = axes.images
    # 312 steps of 16 samples at 500 Hz and 25 mm a second.
    assert first.get_extent()[:2] == second.get_extent()[:2] == pytest.approx([0, 312 * 16 / 500 * 25])
    assert first.get_extent()[3] - first.get_extent()[2] == pytest.approx(STRIP)
    assert second.get_extent()[3] < first.get_extent()[2] < first.get_extent()[3] < 0
    assert second.get_array()[0].argmax() == 100 and second.norm.vmax == pytest.approx(0.5)
    lines = [line for line in axes.lines if line.get_linewidth() == 2.5]
    assert [list(line.get_xdata()) for line in lines] == [[80.0, 85.0], [245.0, 250.0]]
    assert all(line.get_ydata()[0] < second.get_extent()[2] for line in lines)
    marks = {line.get_color(): line for line in axes.lines if line.get_marker() == "v"}
    assert marks[COLOURS[1]].get_xdata()[0] == pytest.approx(100.5 * 16 / 500 * 25)
    assert 0 < marks[COLOURS[0]].get_ydata()[0] < PAPER_HEIGHT
    assert {"sinus rhythm", "a <pvc> $x$"} <= {text.get_text() for text in axes.texts}
    assert axes.get_xlim() == (-10, PAPER_WIDTH + 1) and axes.get_aspect() == 1
    assert figure.axes[0].get_title(loc="left") == "Recording 7"


def test_a_short_recording_and_no_attention_at_all():
    figure = grounding_figure(np.zeros((12, 2000)), [SentenceAttention("x", np.zeros(125))] * 9, 16)
    assert len(figure.axes[0].images) == 9
    long = grounding_figure(np.zeros((12, 6000)), [SentenceAttention("x" * 300, peak(5, 400))], 16)
    image, text = long.axes[0].images[0], long.axes[0].texts[-1].get_text()
    assert image.get_extent()[1] <= PAPER_WIDTH + 1 and len(text) == 110
