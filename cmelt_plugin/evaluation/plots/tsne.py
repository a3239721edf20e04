"""Where the records of each class lie among the embeddings (C-MELT paper, Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.evaluation.plots.style import PALETTE, new_figure, plain, plain_names

MIN_RECORDS = 50  # that figure leaves smaller classes out
_MARKERS = "osD^v"


class Projection(NamedTuple):
    """Records with exactly one label, on a plane.

    Attributes:
        points: float ``[n, 2]``.
        group: int ``[n]``, index into ``names``.
        names: classes shown.
        left_out: class → number of records, of those that are too small.
        several: records left out because they have no label or more than one.
    """

    points: np.ndarray
    group: np.ndarray
    names: list[str]
    left_out: dict[str, int]
    several: int


def project(
    embeddings: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    min_records: int = MIN_RECORDS,
    max_records: int = 5000,
    seed: int = 0,
) -> Projection:
    """t-SNE of the embeddings of records with exactly one label, as in that figure.

    Args:
        embeddings: ``[N, D]``.
        labels: ``[N, C]`` 0/1/NaN.
        names: the C classes.
        min_records: classes with fewer such records are left out.
        max_records: a random choice of so many, for speed.
        seed: of that choice and of t-SNE.

    Raises:
        ValueError: fewer than three records remain.
    """
    from sklearn.manifold import TSNE

    present = np.nan_to_num(np.asarray(labels, dtype=float)) > 0.5
    single = np.flatnonzero(present.sum(axis=1) == 1)
    group = present[single].argmax(axis=1)
    counts = np.bincount(group, minlength=len(names))
    shown = np.flatnonzero(counts >= min_records)
    keep = np.isin(group, shown)
    rows, group = single[keep], np.searchsorted(shown, group[keep])
    if len(rows) > max_records:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), max_records, replace=False))
        rows, group = rows[chosen], group[chosen]
    if len(rows) < 3:
        raise ValueError(f"{len(rows)} records with exactly one label in classes of at least {min_records}")
    perplexity = min(30.0, (len(rows) - 1) / 3)
    tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    points = tsne.fit_transform(np.asarray(embeddings, dtype=np.float32)[rows])
    left_out = {names[c]: int(counts[c]) for c in range(len(names)) if 0 < counts[c] < min_records}
    return Projection(points, group, [names[int(c)] for c in shown], left_out, len(present) - len(single))


def tsne_figure(projection: Projection, title: str) -> Any:
    """The records as points, one colour and marker per class."""
    figure = new_figure(6.0, 6.2)
    axes = figure.add_subplot()
    for index, shown in enumerate(plain_names(projection.names)):
        points = projection.points[projection.group == index]
        axes.scatter(
            *points.T,
            s=7,
            color=PALETTE[index % len(PALETTE)],
            marker=_MARKERS[index // len(PALETTE) % len(_MARKERS)],
            alpha=0.7,
            linewidths=0,
            label=f"{shown} ({len(points)})",
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.set_title(plain(title), loc="left")
    figure.legend(loc="outside lower center", ncols=4, markerscale=2, handletextpad=0.2, columnspacing=1.0)
    return figure
