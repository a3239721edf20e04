"""How similar each ECG is to each report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import new_figure, plain_names


def similarity_figure(similarity: np.ndarray, groups: Sequence[str], scale: str = "cosine similarity") -> Any:
    """ECGs × reports, pair i in row i and column i; pairs sorted so that those of one group stand together.

    Args:
        similarity: ``[n, n]``.
        groups: the group (rhythm, say) of each pair, in the order of the matrix.
        scale: what the colour means.
    """
    n = len(groups)
    if similarity.shape != (n, n):
        raise ValueError(f"similarity {similarity.shape} for {n} pairs")
    figure = new_figure(5.2, 4.3)
    axes = figure.add_subplot()
    limit = float(np.abs(similarity).max()) or 1.0
    image = axes.imshow(similarity, cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.grid(False)
    starts = [index for index in range(n) if index == 0 or groups[index] != groups[index - 1]]
    middles = [(start + stop - 1) / 2 for start, stop in zip(starts, [*starts[1:], n])]
    names = [groups[start] for start in starts]
    for start in starts[1:]:
        axes.axhline(start - 0.5, color="#333333", linewidth=0.7)
        axes.axvline(start - 0.5, color="#333333", linewidth=0.7)
    axes.set_xticks(middles, plain_names(names), rotation=90)
    axes.set_yticks(middles, plain_names(names))
    axes.tick_params(length=0)
    axes.set_xlabel("report, by rhythm")
    axes.set_ylabel("ECG, by rhythm")
    bar = figure.colorbar(image, ax=axes, orientation="vertical", shrink=0.6, aspect=25, pad=0.02)
    bar.set_label(scale)
    return figure
