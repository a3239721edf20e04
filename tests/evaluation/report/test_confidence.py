"""The section of the page on confidence, and its figures."""

import numpy as np
import pytest
from calibrated import save_classifier, write_calibration_data

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.evaluation.confidence.__main__ import main as confidence  # noqa: E402
from cmelt_plugin.evaluation.metrics.calibration import reliability  # noqa: E402
from cmelt_plugin.evaluation.plots.confidence import reliability_figure, risk_figure  # noqa: E402
from cmelt_plugin.evaluation.report.__main__ import main as report  # noqa: E402
from cmelt_plugin.evaluation.report.sections.confidence import confidence_section  # noqa: E402
from cmelt_plugin.evaluation.result_files import read_result  # noqa: E402


def test_the_page_shows_tables_and_figures(tmp_path) -> None:
    directory = write_calibration_data(tmp_path / "m", 32)
    options = ["--passes", 0, "--no-probes", "--foreign", "noise", "--foreign-records", 4, "--bootstrap", 5]
    fixed = ["--checkpoint", save_classifier(tmp_path / "c.pt"), "--manifest", directory, "--results", tmp_path / "out"]
    assert confidence([str(value) for value in (*fixed, *options, "--recall", 0.8)]) == 0
    assert report(["--runs", str(tmp_path / "out"), "--dest", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    for text in ("Sets with a promised recall", "Risk against coverage", "Reliability", "what probabilities should mean"):
        assert text in page, text
    stored = read_result(tmp_path / "out")
    kinds = [type(block).__name__ for block in confidence_section(stored).blocks]
    assert kinds.count("Table") == 6 and kinds.count("Picture") == 2
    (tmp_path / "out" / "confidence.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="confidence.npz: unreadable"):
        confidence_section(stored)


def test_figures_show_what_they_are_given() -> None:
    probability = np.repeat([0.05, 0.55, 0.95], [40, 40, 5])
    label = np.concatenate([np.zeros(40), np.repeat([0, 1], [10, 30]), np.ones(5)])
    axes = reliability_figure({"raw": reliability(label, probability)}, "Reliability").axes[0]
    line = next(line for line in axes.lines if line.get_label() == "raw")
    assert line.get_xdata() == pytest.approx([0.05, 0.55]) and line.get_ydata() == pytest.approx([0, 0.75])  # 5 are too few
    risk, best = np.linspace(0.1, 0.3, 100), np.linspace(0, 0.3, 100)
    axes = risk_figure({"variance": risk}, best, "Risk").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["variance"].get_xdata()[[0, -1]] == pytest.approx([0.05, 1])
    assert lines["variance"].get_ydata() == pytest.approx(100 * risk[4:])
    assert set(lines["random"].get_ydata()) == {30.0}
