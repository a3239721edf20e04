"""Sections of the page on regressions and on uncertainty, from folders that the commands wrote."""

import numpy as np
import pytest
from planted_values import planted, write_planted, write_planted_teacher

pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.evaluation.plots.uncertainty import levels_figure, trend_figure  # noqa: E402
from cmelt_plugin.evaluation.plots.values import value_scatter  # noqa: E402
from cmelt_plugin.evaluation.regress import __main__ as regress  # noqa: E402
from cmelt_plugin.evaluation.report.__main__ import main as report  # noqa: E402
from cmelt_plugin.evaluation.report.sections.regression import regression_section  # noqa: E402
from cmelt_plugin.evaluation.report.sections.uncertainty import uncertainty_section  # noqa: E402
from cmelt_plugin.evaluation.result_files import read_result  # noqa: E402
from cmelt_plugin.evaluation.uncertainty.__main__ import main as uncertainty  # noqa: E402
from cmelt_plugin.models.inference import pretrained as pretrained_module  # noqa: E402


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: planted())
    monkeypatch.setattr(regress, "build_random", lambda *arguments: planted().model)
    values = np.linspace(15, 70, 30)
    directory = write_planted(tmp_path / "m", {"test": values}, np.linspace(0.01, 0.2, 30))
    teacher = write_planted_teacher(tmp_path / "teacher", values[:5])
    fixed = ["--checkpoint", "x", "--manifest", directory, "--bootstrap", 10]
    arguments = [*fixed, "--results", tmp_path / "out", "--teacher", teacher]
    assert regress.main([str(argument) for argument in arguments]) == 0
    arguments = [*fixed, "--results", tmp_path / "out" / "u", "--of", tmp_path / "out" / "m"]
    assert uncertainty([str(argument) for argument in arguments]) == 0
    return tmp_path / "out"


def test_the_page_shows_tables_and_figures(results, tmp_path) -> None:
    assert report(["--runs", str(results), "--dest", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    for text in ("the teacher&#39;s own means", "Metrics by uncertainty", "Uncertainty with added noise", "estimated"):
        assert text in page or text.replace("&#39;", "'") in page, text
    regression, other = read_result(results / "m"), read_result(results / "u")
    assert regression_section(other) is None and uncertainty_section(regression) is None
    kinds = [type(block).__name__ for block in uncertainty_section(other).blocks]
    assert kinds.count("Table") == 3 and kinds.count("Picture") == 4  # two units of metrics, two disturbances
    assert [type(block).__name__ for block in regression_section(regression).blocks].count("Picture") == 1


def test_damaged_arrays_are_named(results) -> None:
    (results / "m" / "values.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="values.npz: unreadable"):
        regression_section(read_result(results / "m"))


def test_figures_say_what_they_show() -> None:
    figure = trend_figure({"a: mae": np.array([1.0, np.nan, 3]), "b: mae": np.array([2.0, 2, 2])}, "By uncertainty", "error")
    axes = figure.axes[0]
    assert [line.get_label() for line in axes.lines] == ["a: mae", "b: mae"] and axes.lines[0].get_xdata().tolist() == [1, 2, 3]
    figure = levels_figure(["none", "6 dB"], np.array([[1.0, 2], [2, 3], [3, 4]]), "Noise")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["none", "6 dB"]
    axes = value_scatter(np.array([10.0, 60]), np.array([20.0, 50]), "lvef", "%").axes[0]
    assert list(axes.lines[0].get_xdata()) == [10, 60] and axes.get_xlabel() == "measured (%)"
