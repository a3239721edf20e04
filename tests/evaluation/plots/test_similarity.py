"""ECGs by reports."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.evaluation.plots.similarity import similarity_figure  # noqa: E402


def test_similarity_names_each_group_once():
    figure = similarity_figure(np.eye(5), ["SR", "SR", "AFIB", "AFIB", "PACED"])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["SR", "AFIB", "PACED"]
    assert figure.axes[0].get_xticks().tolist() == [0.5, 2.5, 4]
    with pytest.raises(ValueError, match="pairs"):
        similarity_figure(np.eye(4), ["SR"])
