import pytest

from cmelt_plugin.evaluation.report.own_rows import extend
from cmelt_plugin.evaluation.report.published import published_tables
from cmelt_plugin.evaluation.result_files import Result, read_results
from tests.evaluation.example_results import write_example

TABLES = {table.id: table for table in published_tables()}


def result(kind, **changes):
    values = {"model": "ours", "checkpoint": "c", "data_set": "d", "label_set": "", "split": "test"}
    return Result(**{"kind": kind, **values, "n_records": 880, "n_subjects": 800, **changes})


def test_rows_of_ours_stand_below_the_published_ones(tmp_path):
    written = write_example(tmp_path / "super")
    extended = extend(TABLES["3"], read_results([tmp_path]))
    assert [row.own for row in extended.rows] == [False, False, True]
    cell = extended.rows[-1].cells[0]
    assert cell.value == pytest.approx(100 * written.metrics["macro_auc"])
    assert (cell.low, cell.high) == pytest.approx(tuple(100 * v for v in written.intervals["macro_auc"]))
    assert extended.texts()[-1][2:] == ["–"] * 6  # one set measured: no others, and no average
    assert extended.sizes()[0] == "120" and extended.sizes()[1] == "–"


def test_the_average_needs_every_column(tmp_path):
    sets = ["ptb-xl-super", "ptb-xl-sub", "ptb-xl-form", "ptb-xl-rhythm", "cpsc2018", "csn"]
    for index, name in enumerate(sets):
        write_example(tmp_path / name, label_set=name, metrics={"macro_auc": 0.70 + index / 100})
    cells = extend(TABLES["3"], read_results([tmp_path])).rows[-1].cells
    assert cells[-1].value == pytest.approx(72.5)


def test_fractions_and_spread_of_linear_probes(tmp_path):
    write_example(
        tmp_path, kind="linear_probe", settings={"fraction": 0.1}, spread={"macro_auc": 0.012}, metrics={"macro_auc": 0.8}
    )
    extended = extend(TABLES["2"], read_results([tmp_path]))
    labels = [column.label for column in TABLES["2"].columns]
    filled = [label for label, cell in zip(labels, extended.rows[-1].cells) if cell.value is not None]
    assert filled == ["PTBXL-Super 10%"]
    assert "80.00 ± 1.20" in extended.texts()[-1][1 + labels.index(filled[0])]


def test_the_test_split_goes_before_others(tmp_path):
    write_example(tmp_path / "a", split="test", metrics={"macro_auc": 0.8})
    write_example(tmp_path / "b", split="test", metrics={"macro_auc": 0.9})
    write_example(tmp_path / "c", split="valid", metrics={"macro_auc": 0.99})
    rows = extend(TABLES["3"], read_results([tmp_path])).rows
    assert [(row.method, row.cells[0].value) for row in rows[2:]] == [("ours", 90.0), ("ours (valid)", pytest.approx(99.0))]


def test_grids_of_ablations_stay_apart():
    wanted = TABLES["6"]
    stored = [
        type("S", (), {"result": result("ablation", settings={"grid": grid, "task": "zero_shot"}, metrics={"score": 0.7})})()
        for grid in ("components", "layers")
    ]
    assert sum(row.own for row in extend(wanted, stored).rows) == 1
