"""t-SNE of embeddings."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from cmelt_plugin.evaluation.plots.style import to_svg  # noqa: E402
from cmelt_plugin.evaluation.plots.tsne import project, tsne_figure  # noqa: E402


def test_tsne_shows_single_labels_of_large_classes_only():
    rng = np.random.default_rng(0)
    labels = np.zeros((60, 3))
    labels[:25, 0] = 1
    labels[25:50, 1] = 1
    labels[50:54, 2] = 1  # too few
    labels[54:57, :2] = 1  # two labels; 57 to 59 have none
    embeddings = rng.normal(size=(60, 8)) * 0.1 + labels @ rng.normal(size=(3, 8)) * 5
    shown = project(embeddings, labels, ["A", "B", "C"], min_records=20)
    assert shown.names == ["A", "B"] and shown.left_out == {"C": 4} and shown.several == 6
    assert shown.points.shape == (50, 2) and np.bincount(shown.group).tolist() == [25, 25]
    centres = [shown.points[shown.group == g].mean(axis=0) for g in (0, 1)]
    spread = max(shown.points[shown.group == g].std() for g in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > spread  # two clusters stay two clusters
    assert "A (25)" in to_svg(tsne_figure(shown, "t"))
    np.testing.assert_array_equal(project(embeddings, labels, ["A", "B", "C"], 20).points, shown.points)


def test_tsne_needs_records():
    with pytest.raises(ValueError, match="0 records"):
        project(np.zeros((4, 2)), np.ones((4, 2)), ["A", "B"], min_records=1)
