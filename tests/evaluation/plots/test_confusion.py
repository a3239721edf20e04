"""Confusion of the classes."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from cmelt_plugin.evaluation.plots.confusion import confusion_figure, label_confusion  # noqa: E402
from cmelt_plugin.evaluation.plots.style import to_svg  # noqa: E402


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
