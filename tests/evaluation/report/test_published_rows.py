import numpy as np
import pytest

from cmelt_plugin.data.files import write_json
from cmelt_plugin.evaluation.report.published import published_tables
from cmelt_plugin.evaluation.report.published_rows import compare, lead_set, matches, row_name
from cmelt_plugin.evaluation.result_files import Result, read_results
from tests.evaluation.example_results import write_example

TABLES = {table.id: table for table in published_tables()}


def result(kind, **changes):
    values = {"model": "ours", "checkpoint": "c", "data_set": "d", "label_set": "", "split": "test"}
    return Result(**{"kind": kind, **values, "n_records": 880, "n_subjects": 800, **changes})


def test_published_numbers_are_the_papers():
    """Spot checks of every table against the paper, and the shape of each."""
    shape = {name: (len(table.rows), len(table.columns)) for name, table in TABLES.items()}
    assert shape == {
        "1-dx": (7, 5),
        "1-id": (7, 5),
        "2": (12, 18),
        "3": (2, 7),
        "4": (12, 6),
        "5": (5, 1),
        "6": (4, 3),
        "7": (4, 3),
        "8": (3, 3),
    }
    last = {name: table.rows[-1] for name, table in TABLES.items()}
    assert last["1-dx"].values == [85.7, 81.1, 84.2, 81.9, 76.5]
    assert last["1-id"].values == [65.4, 57.3, 60.5, 57.7, 41.1]
    assert last["2"].values[:3] == [80.04, 87.36, 90.71] and last["2"].values[-3:] == [85.46, 91.35, 94.92]
    assert last["3"].values == [76.2, 75.9, 66.1, 88.6, 80.1, 76.3, 77.1]
    assert last["4"].values == [72.09, 79.11, 77.12, 82.91, 76.24, 80.10]
    assert [row.values for row in TABLES["5"].rows] == [[92.07], [90.52], [93.61], [96.59], [96.79]]
    assert last["6"].values == [76.81, 63.50, None] and last["6"].spread == [3.96, 6.95, None]
    assert last["8"].values == [69.4, 66.83, 69.43]
    assert all("C-MELT" in table.source for table in TABLES.values())


def test_a_file_a_paper_and_no_two_tables_of_one_name(tmp_path):
    table = {"id": "a", "number": "1", "title": "t", "unit": "%", "metric": "macro_auc", "columns": [], "rows": []}
    for paper, name in (("one", "a"), ("two", "b")):
        write_json(tmp_path / f"{paper}.json", {"source": paper, "tables": [{**table, "id": name}]})
    assert [(table.id, table.source) for table in published_tables(tmp_path)] == [("a", "one"), ("b", "two")]
    write_json(tmp_path / "three.json", {"source": "three", "tables": [table]})
    with pytest.raises(ValueError, match="table a is also one of one"):
        published_tables(tmp_path)


def test_means_of_published_rows_agree_with_their_columns():
    for row in TABLES["3"].rows:
        assert abs(np.mean(row.values[:-1]) - row.values[-1]) < 0.11  # rounding, and MERL's own rounding


def test_rows_of_ours_stand_below_the_published_ones(tmp_path):
    written = write_example(tmp_path / "super")
    compared = compare(TABLES["3"], read_results([tmp_path]))
    assert [row.own for row in compared.rows] == [False, False, True]
    cell = compared.rows[-1].cells[0]
    assert cell.value == pytest.approx(100 * written.metrics["macro_auc"])
    assert (cell.low, cell.high) == pytest.approx(tuple(100 * v for v in written.intervals["macro_auc"]))
    assert compared.texts()[-1][2:] == ["–"] * 6  # one set measured: no others, and no average
    assert compared.sizes()[0] == "120" and compared.sizes()[1] == "–"


def test_the_average_needs_every_column(tmp_path):
    sets = ["ptb-xl-super", "ptb-xl-sub", "ptb-xl-form", "ptb-xl-rhythm", "cpsc2018", "csn"]
    for index, name in enumerate(sets):
        write_example(tmp_path / name, label_set=name, metrics={"macro_auc": 0.70 + index / 100})
    cells = compare(TABLES["3"], read_results([tmp_path])).rows[-1].cells
    assert cells[-1].value == pytest.approx(72.5)


def test_fractions_and_spread_of_linear_probes(tmp_path):
    write_example(
        tmp_path, kind="linear_probe", settings={"fraction": 0.1}, spread={"macro_auc": 0.012}, metrics={"macro_auc": 0.8}
    )
    compared = compare(TABLES["2"], read_results([tmp_path]))
    labels = [column.label for column in TABLES["2"].columns]
    filled = [label for label, cell in zip(labels, compared.rows[-1].cells) if cell.value is not None]
    assert filled == ["PTBXL-Super 10%"]
    assert "80.00 ± 1.20" in compared.texts()[-1][1 + labels.index(filled[0])]


@pytest.mark.parametrize(
    "leads,expected",
    [(None, "12"), (["II", "I"], "2"), (["i", "ii", "v2"], "3"), ("6", "6"), (["V1"], ""), ("I", "1")],
)
def test_lead_sets_are_recognised_by_their_leads(leads, expected):
    found = result("finetune", settings={"leads": leads})
    assert lead_set(found) == expected
    assert matches(found, {"settings.lead_set": "2"}) is (expected == "2")


def test_the_test_split_goes_before_others(tmp_path):
    write_example(tmp_path / "a", split="test", metrics={"macro_auc": 0.8})
    write_example(tmp_path / "b", split="test", metrics={"macro_auc": 0.9})
    write_example(tmp_path / "c", split="valid", metrics={"macro_auc": 0.99})
    rows = compare(TABLES["3"], read_results([tmp_path])).rows
    assert [(row.method, row.cells[0].value) for row in rows[2:]] == [("ours", 90.0), ("ours (valid)", pytest.approx(99.0))]


def test_names_say_what_sets_a_row_apart():
    assert row_name(result("linear_probe", settings={"subset": "melp"})) == "ours (melp subsets)"
    assert row_name(result("zero_shot", settings={"prompt_kind": "name"})) == "ours (class texts: name)"
    assert row_name(result("shift", settings={"fraction": 1.0})) == "ours (probe)"
    assert row_name(result("shift")) == "ours (zero-shot)"
    assert row_name(result("zero_shot", notes=["labels (exact): exact matches"])) == "ours (exact labels)"
    assert row_name(result("linear_probe", settings={"leads": ["I", "II"]})) == "ours (leads I II)"
    assert row_name(result("linear_probe", settings={"leads": ["I"], "pool": "mean"})) == "ours (leads I, mean pooling)"
    assert row_name(result("finetune", settings={"leads": ["I", "II"]})) == "ours"  # Table 1 has columns for them
    assert row_name(result("zero_shot")) == "ours"


def test_grids_of_ablations_stay_apart():
    wanted = TABLES["6"]
    stored = [
        type("S", (), {"result": result("ablation", settings={"grid": grid, "task": "zero_shot"}, metrics={"score": 0.7})})()
        for grid in ("components", "layers")
    ]
    assert sum(row.own for row in compare(wanted, stored).rows) == 1
