"""An ECG, and below it on the same time axis where a model looks for each sentence of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.evaluation.plots.ecg import MM_PER_SECOND, PAPER_HEIGHT, PAPER_WIDTH, draw_ecg
from cmelt_plugin.evaluation.plots.style import BLACK, PALETTE, new_figure, plain

STRIP, TEXT = 6.0, 7.0  # mm: height of a sentence's strip, and of the words above it
LONGEST = 110  # characters of a sentence
COLOURS = tuple(colour for colour in PALETTE if colour != BLACK)


class SentenceAttention(NamedTuple):
    """A sentence of a report and where a model looks for it.

    Attributes:
        text: the sentence.
        weights: ``[T']``, not negative, over steps in time.
        events: (onset, offset) in samples, where what it says is to be seen; empty: nowhere in particular.
    """

    text: str
    weights: np.ndarray
    events: Sequence[tuple[float, float]] = ()


def grounding_figure(
    ecg: np.ndarray,
    sentences: Sequence[SentenceAttention],
    samples_per_step: float,
    sample_rate: float = 500.0,
    title: str = "",
) -> Any:
    """The ECG on paper over a strip for each sentence: the darker, the more of its attention, the darkest being its largest.

    A triangle in the sentence's colour marks that place in the ECG; black lines below a strip are the sentence's events.

    Args:
        ecg: ``[12, T]`` mV, as :func:`~cmelt_plugin.evaluation.plots.ecg.draw_ecg`.
        sentences: from top to bottom.
        samples_per_step: of the weights.
        sample_rate: Hz.
        title: above the paper.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    below = len(sentences) * (STRIP + TEXT) + 3
    figure = new_figure((PAPER_WIDTH + 22) / 25.4, (PAPER_HEIGHT + below + 26) / 25.4)
    axes = figure.add_subplot()
    draw_ecg(axes, ecg, sample_rate)
    limits, mm = axes.get_xlim(), MM_PER_SECOND / sample_rate
    axes.fill_between(limits, -below, 0, color="white", linewidth=0, zorder=1)
    for number, (text, weights, events) in enumerate(sentences):
        colour = COLOURS[number % len(COLOURS)]
        top = -TEXT - number * (STRIP + TEXT)
        step = samples_per_step * mm
        stop = min(len(weights) * step, PAPER_WIDTH)
        shown = np.asarray(weights, dtype=np.float64)[None, : round(stop / step)]
        axes.imshow(
            shown,
            cmap=LinearSegmentedColormap.from_list("attention", ["#ffffff", colour]),
            vmin=0,
            vmax=float(shown.max()) or 1.0,
            extent=(0, shown.shape[1] * step, top - STRIP, top),
            interpolation="nearest",
            zorder=2,
        )
        axes.plot([0, PAPER_WIDTH, PAPER_WIDTH, 0, 0], [top, top, top - STRIP, top - STRIP, top], color=colour, linewidth=0.8)
        axes.text(0, top + 1.5, plain(text, LONGEST), fontsize=11, color=colour, fontweight="bold", zorder=3)
        for onset, offset in events:
            axes.plot([onset * mm, offset * mm], [top - STRIP - 1] * 2, color=BLACK, linewidth=2.5, zorder=3)
        peak = (int(shown.argmax()) + 0.5) * step
        axes.plot([peak], [PAPER_HEIGHT - 1.5], marker="v", markersize=8, color=colour, markeredgecolor="white", zorder=5)
    axes.set_xlim(limits)
    axes.set_ylim(-below, PAPER_HEIGHT)
    entries = [
        Patch(color="#888888", label="attention of a sentence"),
        Line2D([], [], color="#888888", marker="v", linestyle="", markersize=8, label="its largest"),
        Line2D([], [], color=BLACK, linewidth=2.5, label="where the finding is"),
    ]
    axes.legend(handles=entries, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=11, borderaxespad=0.2)
    axes.set_title(plain(title), loc="left", fontsize=12)
    return figure
