"""Reading tables, and labels from lists of names."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from preprocess.table_labels import labels_of_names, split_names
from preprocess.table_source import read_table


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
