"""The section of the page on confidence, and its figures."""

import numpy as np
import pytest
from calibrated import save_classifier, write_calibration_data

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.evaluation.confidence.__main__ import main as confidence  # noqa: E402
from cmelt_plugin.evaluation.metrics.calibration import reliability  # noqa: E402
from cmelt_plugin.evaluation.plots.confidence import promise_figure, reliability_figure, risk_figure  # noqa: E402
from cmelt_plugin.evaluation.report.__main__ import main as report  # noqa: E402
from cmelt_plugin.evaluation.report.blocks import Picture, Table  # noqa: E402
from cmelt_plugin.evaluation.report.sections.confidence import confidence_section  # noqa: E402
from cmelt_plugin.evaluation.report.sections.drift import drift_section  # noqa: E402
from cmelt_plugin.evaluation.result_files import Result, StoredResult, read_result, write_result  # noqa: E402


def test_the_page_shows_tables_and_figures(tmp_path) -> None:
    directory = write_calibration_data(tmp_path / "m", 32)
    options = ["--passes", 0, "--no-probes", "--foreign", "noise", "--foreign-records", 4, "--bootstrap", 5]
    fixed = ["--checkpoint", save_classifier(tmp_path / "c.pt"), "--manifest", directory, "--results", tmp_path / "out"]
    assert confidence([str(value) for value in (*fixed, *options, "--recall", 0.8)]) == 0
    assert report(["--runs", str(tmp_path / "out"), "--dest", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    for text in ("Sets with a promised recall", "Risk against coverage", "Reliability", "ideal"):
        assert text in page, text
    stored = read_result(tmp_path / "out")
    kinds = [type(block).__name__ for block in confidence_section(stored).blocks]
    assert kinds.count("Table") == 7 and kinds.count("Picture") == 2
    (tmp_path / "out" / "confidence.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="confidence.npz: unreadable"):
        confidence_section(stored)


def drift_result() -> Result:
    window = {"begin": "", "end": "", "n_records": 9, "n_positive": 4, "p_value": 0.001, "recall": 0.5, "refused": 0.1}
    unknown = {**window, "p_value": None, "recall": None, "refused": None}
    return Result(
        kind="drift",
        model="ours",
        checkpoint="c.pt",
        data_set="ward 3",
        label_set="",
        split="test",
        n_records=18,
        n_subjects=18,
        settings={"reference": "then/valid", "promised": 0.9, "windows": [window, unknown]},
        metrics={"points/auc": 0.8, "points/p_value": 0.001, "points/distance_p_value": 0.4, "points/beyond": 0.1},
        per_class={"AF": {"statistic": 0.2, "p_value": 0.04, "shift": -1.5}},
    )


def test_drift_has_a_section(tmp_path) -> None:
    write_result(tmp_path, drift_result())
    assert confidence_section(read_result(tmp_path)) is None
    blocks = drift_section(read_result(tmp_path)).blocks
    points, scores, promise = (block for block in blocks if isinstance(block, Table))
    assert points.rows == [["now against then", "80.0", "0.001", "0.4", "10.0", "drift"]]
    assert scores.rows == [["AF", "20.0", "0.04", "-1.50", ""]]
    assert [row[2:] for row in promise.rows] == [["9", "10.0", "4", "50.0", "0.001", "broken"], ["9", "–", "4", "–", "–", ""]]
    assert "promised 90.0" in promise.head[5] and isinstance(blocks[-1], Picture)
    alone = drift_result()
    del alone.settings["windows"]
    assert not any(isinstance(block, Picture) for block in drift_section(StoredResult(tmp_path, alone)).blocks)


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
    axes = promise_figure([0.9, None, 0.8], [None] * 3, 0.9, "Promise").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["recall"].get_xdata().tolist() == [1, 3] and lines["recall"].get_ydata() == pytest.approx([90, 80])
    assert set(lines["promised"].get_ydata()) == {90.0} and "refused" not in lines
