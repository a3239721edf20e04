import numpy as np
import pytest

pytest.importorskip("matplotlib")

from cmelt_plugin.evaluation.plots.confusion import confusion_figure, label_confusion  # noqa: E402
from cmelt_plugin.evaluation.plots.intervals import interval_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.precision_recall import precision_recall_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.style import to_svg  # noqa: E402
from cmelt_plugin.evaluation.plots.tsne import project, tsne_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.words import frequency_figure, word_counts  # noqa: E402


def test_confusion_counts_records_of_the_row_that_get_the_column():
    labels = np.array([[1, 0, np.nan], [1, 1, 0], [0, 1, 0]], dtype=float)
    says = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=bool)
    matrix = label_confusion(labels, says)
    np.testing.assert_allclose(matrix[0], [0.5, 0.5, 1.0])  # records 0 and 1
    np.testing.assert_allclose(matrix[1], [0.0, 0.5, 0.5])  # records 1 and 2
    assert np.isnan(matrix[2]).all()  # nobody has it


def test_confusion_of_the_truth_has_a_diagonal_of_ones():
    labels = np.random.default_rng(0).random((40, 4)) < 0.5
    np.testing.assert_allclose(np.diag(label_confusion(labels, labels)), 1.0)


def test_confusion_figure_refuses_other_shapes():
    assert "SVTAC" in to_svg(confusion_figure(np.eye(2), ["SR", "SVTAC"], "t"))
    with pytest.raises(ValueError, match="2 classes"):
        confusion_figure(np.eye(3), ["a", "b"], "t")


def test_classes_and_their_positives_stand_beside_the_intervals():
    svg = to_svg(interval_figure({"AFIB": 0.9, "PSVT": 0.7}, {"AFIB": (0.8, 0.95)}, {"AFIB": 40, "PSVT": 2}, 0.8, "t"))
    assert "AFIB (n = 40)" in svg and "PSVT (n = 2)" in svg and "macro 0.800" in svg


def test_precision_recall_leaves_unknown_labels_out():
    labels = np.array([[1.0], [0.0], [np.nan], [1.0]])
    scores = np.array([[0.9], [0.1], [0.5], [0.8]])
    figure = precision_recall_figure(labels, scores, ["AFIB"], {"AFIB": 1.0}, "t")
    line = next(line for line in figure.axes[0].lines if len(line.get_xdata()) > 2)
    np.testing.assert_allclose(line.get_ydata()[line.get_xdata() > 0], 1.0, atol=0.4)
    chance = [line for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1][0]
    assert chance.get_ydata()[0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at most 8"):
        precision_recall_figure(labels, scores, ["AFIB"], {str(i): 1.0 for i in range(9)}, "t")


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


def test_words_count_once_per_report_and_weigh_by_records():
    counts = word_counts(["sinus rhythm sinus", "the rhythm 12"], [3, 2])
    assert counts == {"sinus": 3, "rhythm": 5}
    assert "rhythm" in to_svg(frequency_figure(counts.most_common(), 5, "t"))
