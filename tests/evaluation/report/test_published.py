import json

import numpy as np
import pytest

from cmelt_plugin.evaluation.report.published import published_tables

TABLES = {table.id: table for table in published_tables()}


def test_published_values_are_the_papers():
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


def test_means_of_published_rows_agree_with_their_columns():
    for row in TABLES["3"].rows:
        assert abs(np.mean(row.values[:-1]) - row.values[-1]) < 0.11  # rounding, and MERL's own rounding


def paper(folder, name, *ids):
    column = {"label": "AUC", "match": {"kind": "zero_shot"}}
    row = {"method": "theirs", "values": [70.0]}
    common = {"number": "1", "title": "t", "unit": "%", "metric": "macro_auc", "columns": [column], "rows": [row]}
    tables = [{"id": table_id, **common} for table_id in ids]
    (folder / name).write_text(json.dumps({"source": name, "format": 1, "tables": tables}))


def test_every_file_is_a_paper(tmp_path):
    paper(tmp_path, "b.json", "b-1")
    paper(tmp_path, "a.json", "a-1", "a-2")
    assert [(table.id, table.source) for table in published_tables(tmp_path)] == [
        ("a-1", "a.json"),
        ("a-2", "a.json"),
        ("b-1", "b.json"),
    ]
    paper(tmp_path, "c.json", "a-1")
    with pytest.raises(ValueError, match="c.json: table a-1 is also one of a.json"):
        published_tables(tmp_path)
