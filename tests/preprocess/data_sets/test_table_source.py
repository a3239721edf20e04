"""Reading tables, and labels from lists of names."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from preprocess.data_sets.source import read_csv
from preprocess.data_sets.table_labels import labels_of_names, split_names
from preprocess.data_sets.table_source import read_table


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_files_that_are_no_table(tmp_path, name):
    with pytest.raises(DataError, match=f"{name}: no such file"):
        read_table(tmp_path / name, ["path"])
    (tmp_path / name).write_bytes(b"path\n1,2,3\t4\t5\n1\n" if name != "t.parquet" else b"junk")
    with pytest.raises(DataError, match=f"{name}: not a"):
        read_table(tmp_path / name, ["path"])


def test_cells_are_text(tmp_path):
    table = pd.DataFrame({"id": [1.0, np.nan, 3.5], "n": [1, 2, 3], "s": [" a ", None, "c"]})
    table.to_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet", ["s", "id", "n"])
    assert found.to_numpy().tolist() == [["a", "1", "1"], ["", "", "2"], ["c", "3.5", "3"]]
    (tmp_path / "t.tsv").write_bytes("id\ttext\n007\tVorhofflimmern \u00e4\n".encode("utf-8-sig"))
    assert read_table(tmp_path / "t.tsv", ["id", "text"]).to_numpy().tolist() == [["007", "Vorhofflimmern \u00e4"]]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_quotation_marks_that_join_rows_are_refused(tmp_path, separator):
    """pandas reads a, "x and b, "y as one row: a with the other cells of b."""
    path = tmp_path / ("t.csv" if separator == "," else "t.tsv")
    lines = ["path,report,A", 'a,"x,0', 'b,"y,1', "c,z,0"]
    path.write_text("\n".join(lines).replace(",", separator) + "\n")
    with pytest.raises(DataError, match=r"t\.[ct]sv, line 3 or before: quotation marks that do not match"):
        read_table(path, ["path", "report", "A"])
    good = ["path,report,A", 'a,"x ""y"" and\nmore",0', 'b,5" and 6",1', f"c,{'z' * 200_000},0"]
    path.write_text("\n".join(good).replace(",", separator) + "\n")
    assert read_table(path, ["path", "A"]).to_numpy().tolist() == [["a", "0"], ["b", "1"], ["c", "0"]]


names = st.text("ABC1+/ ", min_size=1, max_size=4).map(str.strip).filter(bool)


@given(st.lists(st.lists(names, max_size=4, unique=True), max_size=6))
def test_labels_from_names_equal_the_plain_formula(named):
    assert split_names([" ; ".join(record) for record in named], ";") == named
    values, classes, others = labels_of_names(named, empty="absent")
    assert classes == sorted(set().union(*named)) and others == {}
    expected = [[float(name in record) for name in classes] for record in named]
    assert np.array_equal(values, np.reshape(expected, values.shape))
    values, _, _ = labels_of_names(named)
    assert [bool(np.isnan(row).all()) for row in values] == [
        not record and len(classes) > 0 or not len(classes) for record in named
    ]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_a_column_that_is_there_twice(tmp_path, name):
    """Which of the two is meant nobody can tell; pandas would take the first, and call the second x.1."""
    rows = [["a", "x", "x", "b", "x.1"], ["1", "2", "3", "4", "5"], ["6", "7", "8", "9", "10"]]
    if name.endswith("parquet"):
        columns = [pa.array(column) for column in zip(*rows[1:])]
        pq.write_table(pa.Table.from_arrays(columns, names=rows[0]), tmp_path / name)
    else:
        separator = "," if name.endswith("csv") else "\t"
        (tmp_path / name).write_text("\n" + "\n".join(separator.join(row) for row in rows) + "\n")
    for wanted in (["x"], ["b", "x", "a"]):
        with pytest.raises(
            DataError, match=f"{name}: several columns of one name: x \\(2 times\\); rename or remove all but one"
        ):
            read_table(tmp_path / name, wanted)
    assert read_table(tmp_path / name, ["b", "a"]).to_numpy().tolist() == [["4", "1"], ["9", "6"]]
    assert read_table(tmp_path / name, ["x.1"]).to_numpy().tolist() == [["5"], ["10"]]
    with pytest.raises(DataError, match=f"{name}: no column x.2"):
        read_table(tmp_path / name, ["x.2"])


def test_columns_found_by_a_pattern_may_not_be_there_twice(tmp_path):
    (tmp_path / "t.csv").write_text("id,report_0,report_1,report_1\n1,a,b,c\n")
    with pytest.raises(DataError, match="several columns of one name: report_1"):
        read_csv(tmp_path / "t.csv", ["id", "report_0"], "a table", also=r"report_\d+")
    found = read_csv(tmp_path / "t.csv", ["id", "report_0"], "a table")
    assert list(found.columns) == ["id", "report_0"] and found.iloc[0].tolist() == ["1", "a"]
