"""Published split files: class columns by name, blank first lines, and what is refused."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess.data_sets.published_splits import print_label_differences, read_published_splits

CLASSES = ["AFIB", "SR", "STE"]
ROWS = {
    "train": [("a1", 1, 0, 0), ("a2", 0, 1, 1)],
    "val": [("a3", 0, 0, 0)],
    "test": [("a4", 1, 0, 1)],
}
LABELS = [[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]]


def write_splits(folder, rows=ROWS, orders=None, blank=()):
    """Write the three files; ``orders`` gives the order of the columns of a file, ``blank`` names those that start blank."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in rows.items():
        columns = (orders or {}).get(name, ["id", *CLASSES])
        with open(folder / f"set_{name}.csv", "w", newline="") as handle:
            if name in blank:
                handle.write("\n")
            table = csv.DictWriter(handle, columns)
            table.writeheader()
            table.writerows({column: dict(zip(["id", *CLASSES], row))[column] for column in columns} for row in entries)
    return folder


def test_rows_splits_and_labels(tmp_path):
    found = read_published_splits(write_splits(tmp_path), "set", "id", CLASSES)
    assert found.table["id"].tolist() == ["a1", "a2", "a3", "a4"]
    assert found.table["split"].tolist() == ["train", "train", "valid", "test"]
    assert found.labels.dtype == np.float32 and found.labels.tolist() == LABELS


def test_a_folder_of_folders_is_fine(tmp_path):
    write_splits(tmp_path / "set")
    assert read_published_splits(tmp_path, "set", "id", CLASSES).labels.tolist() == LABELS


def test_a_blank_first_line_is_skipped(tmp_path):
    write_splits(tmp_path, blank=("train", "val", "test"))
    assert read_published_splits(tmp_path, "set", "id", CLASSES).labels.tolist() == LABELS


@settings(max_examples=20, deadline=None)
@given(orders=st.fixed_dictionaries({name: st.permutations(["id", *CLASSES]) for name in ROWS}))
def test_columns_are_taken_by_name(tmp_path_factory, orders):
    """D-E1: files that order their columns differently give the same labels."""
    folder = write_splits(tmp_path_factory.mktemp("splits"), orders=orders)
    assert read_published_splits(folder, "set", "id", CLASSES).labels.tolist() == LABELS


def test_the_callers_order_of_classes_counts(tmp_path):
    write_splits(tmp_path)
    assert read_published_splits(tmp_path, "set", "id", ["STE", "AFIB"]).labels.tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]


def test_an_empty_cell_is_unknown(tmp_path):
    write_splits(tmp_path, {**ROWS, "val": [("a3", "", 0, 1)]})
    assert np.isnan(read_published_splits(tmp_path, "set", "id", CLASSES).labels[2]).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "rows, message",
    [
        ({**ROWS, "val": [("a3", 2, 0, 0)]}, "set_val.csv, a3, column AFIB: '2' is not 0, 1 or empty"),
        ({**ROWS, "test": [("a1", 0, 0, 0)]}, r"a1 occurs more than once \(train, test\)"),
        ({**ROWS, "test": [("a4", 0, 0, 0)] * 2}, r"a4 occurs more than once \(test, test\)"),
    ],
)
def test_what_is_refused(tmp_path, rows, message):
    write_splits(tmp_path, rows)
    with pytest.raises(DataError, match=message):
        read_published_splits(tmp_path, "set", "id", CLASSES)


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(DataError, match="set_train.csv: no such file"):
        read_published_splits(tmp_path, "set", "id", CLASSES)
    write_splits(tmp_path)
    with pytest.raises(DataError, match="set_train.csv: no column AFL, PACE"):
        read_published_splits(tmp_path, "set", "id", ["AFIB", "AFL", "PACE"])


def test_differences_are_counted_by_class_where_both_know(capsys):
    ours = np.array([[1, 0], [np.nan, 1], [0, 0]], dtype=np.float32)
    theirs = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert print_label_differences(["A", "B"], ours, theirs, "here and there") == 3
    assert capsys.readouterr().out.splitlines() == ["here and there: 3 of 5 cells differ", "  A: 1", "  B: 2"]


def published(real_data, prefix, id_column, label_set):
    folder = real_data / "splits"
    if not (folder / prefix).is_dir():
        pytest.skip(f"no published splits at {folder / prefix}")
    return read_published_splits(folder, prefix, id_column, class_names(label_set))


@pytest.mark.parametrize(
    "prefix, id_column, label_set, counts, classes",
    [("icbeb", "filename", "cpsc2018", [4950, 551, 1376], 9), ("chapman", "ecg_path", "csn", [16546, 1860, 4620], 38)],
)
def test_published_counts(real_data, prefix, id_column, label_set, counts, classes):
    found = published(real_data, prefix, id_column, label_set)
    assert [int((found.table["split"] == split).sum()) for split in ("train", "valid", "test")] == counts
    assert found.labels.shape == (sum(counts), classes) and np.isin(found.labels, [0, 1]).all()


def test_cpsc2018_positives(real_data):
    """The counts by which PhysioNet's challenge describes the same records; VPC, STE and STD are not among its classes."""
    found = published(real_data, "icbeb", "filename", "cpsc2018")
    positives = dict(zip(class_names("cpsc2018"), found.labels.sum(axis=0).astype(int).tolist()))
    expected = {"AFIB": 1221, "NORM": 918, "1AVB": 722, "CRBBB": 1857, "PAC": 616, "CLBBB": 236}
    assert {name: positives[name] for name in expected} == expected
    several = (found.labels.sum(axis=1) > 1).astype(int)
    assert [int(several[found.table["split"] == split].sum()) for split in ("train", "valid", "test")] == [360, 36, 80]
