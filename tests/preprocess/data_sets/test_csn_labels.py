"""CSN's labels: exact against substring matches, and SNOMED CT codes against the data set's own table."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess.data_sets.csn_labels import CONDITIONS_FILE, exact_labels, print_shipped_and_exact, read_conditions
from preprocess.data_sets.published_splits import read_published_splits
from preprocess.data_sets.snomed import CPSC2018, CSN, EQUIVALENT, code_labels

NAMES = class_names("csn")
NO_CLASS = ["SB", "LVQRSAL", "IDC", "VPE", "3AVB"]
SHIPPED_AND_EXACT = {  # positives of the seven columns made by substring search, all splits
    "VB": (916, 3),
    "AVB": (913, 176),
    "AF": (4753, 3340),
    "ST": (6338, 5154),
    "SA": (2828, 2107),
    "CR": (216, 75),
    "2AVB": (38, 22),
}
EXACT_TEST = {"VB": 0, "AVB": 39, "AF": 690, "ST": 1030, "SA": 395, "CR": 12, "2AVB": 3}


def positives(labels):
    return dict(zip(NAMES, labels.sum(axis=0).astype(int).tolist()))


def test_a_class_counts_where_the_list_names_it():
    """D-E2: names that are part of another name."""
    labels = exact_labels(["AFIB,STE", "2AVB1", "LVQRSAL,CCR", "AF, ST", ""], NAMES)
    found = [{name for name, value in zip(NAMES, row) if value} for row in labels]
    assert found == [{"AFIB", "STE"}, {"2AVB1"}, {"CCR"}, {"AF", "ST"}, set()]


@given(st.lists(st.sets(st.sampled_from(NAMES + NO_CLASS)), max_size=8))
def test_exact_labels_are_the_names_in_the_list(rows):
    labels = exact_labels([",".join(sorted(row)) for row in rows], NAMES)
    assert labels.shape == (len(rows), 38)
    assert [{name for name, value in zip(NAMES, line) if value} for line in labels] == [row - set(NO_CLASS) for row in rows]


def test_codes_and_their_equivalents():
    codes = [("427172004", "164889003"), ("17338001",), ("713427006", "999"), (), ("999", "10370003")]
    labels, others = code_labels(codes, ["VPB", "AFIB", "RBBB"], CSN)
    assert labels[:3].tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert np.isnan(labels[3]).all() and labels[4].tolist() == [0, 0, 0]
    assert others == {"999": 2, "10370003": 1}


def test_every_class_has_one_code():
    assert sorted(CSN.values()) == sorted(NAMES)
    assert set(CPSC2018.values()) == set(class_names("cpsc2018"))
    assert set(EQUIVALENT.values()) <= set(CSN) and not set(EQUIVALENT) & set(CSN)


def test_abbreviations_are_not_carried_over_between_data_sets():
    assert CSN["164931005"] == "STTU" and CPSC2018["164931005"] == "STE"
    assert CSN["164890007"] == "AF" and CSN["164889003"] == CPSC2018["164889003"] == "AFIB"


def write_table(path, rows, header="AcronymName,FullName,Snomed_CT"):
    path.write_text("\ufeff" + "\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["AcronymName,FullName,Snomed_CT", "Acronym Name,Full Name,Snomed_CT"])
def test_the_first_abbreviation_of_a_code_is_its_class(tmp_path, header):
    rows = ["MI,myocardial infarction,164865005", "MIFW,front wall,164865005", "IDC,,698252002", "IVB,,698252002"]
    found = read_conditions(write_table(tmp_path / "t.csv", rows, header), ["MI"])
    assert found == {"164865005": "MI"}


def test_a_foreign_table_is_refused(tmp_path):
    path = write_table(tmp_path / "t.csv", ["MI,myocardial infarction,164865005"])
    with pytest.raises(DataError, match="t.csv: no code for AF, SR"):
        read_conditions(path, ["AF", "MI", "SR"])
    with pytest.raises(DataError, match="no column AcronymName"):
        read_conditions(write_table(path, ["MI,x,1"], "Abbreviation,FullName,Snomed_CT"), ["MI"])
    with pytest.raises(DataError, match="no column Snomed_CT"):
        read_conditions(write_table(path, ["MI,x,1"], "AcronymName,FullName,Code"), ["MI"])


def test_both_counts_are_printed(capsys):
    shipped = np.array([[1, 1], [1, 0], [0, 1]], dtype=np.float32)
    exact = np.array([[1, 1], [0, 0], [0, 1]], dtype=np.float32)
    print_shipped_and_exact(["VB", "SR"], shipped, exact, ["train", "test", "test"], "exact")
    out = capsys.readouterr().out
    assert "VB: 2 -> 1 (train 1 -> 1, test 1 -> 0)" in out and "SR:" not in out
    assert "without positives in test, so without an AUC there: VB" in out


def test_our_codes_are_those_of_the_data_set(real_data):
    path = real_data / "chapman-tables" / CONDITIONS_FILE
    if not path.is_file():
        pytest.skip(f"no table at {path}")
    assert read_conditions(path, NAMES) == CSN


@pytest.fixture(scope="module")
def published(real_data):
    folder = real_data / "splits" / "chapman"
    if not folder.is_dir():
        pytest.skip(f"no published splits at {folder}")
    return read_published_splits(folder, "chapman", "ecg_path", NAMES, also=["diagnose"])


def test_our_order_is_that_of_the_published_columns(real_data, published):
    for name in ("train", "val", "test"):
        columns = list(pd.read_csv(real_data / "splits" / "chapman" / f"chapman_{name}.csv", nrows=0).columns)
        assert columns == ["ecg_path", "age", "diagnose", *NAMES]


def test_published_columns_are_substring_matches(published):
    """D-E2: what the published columns are, and that only seven of them are wrong."""
    substring = np.array([[name in text for name in NAMES] for text in published.table["diagnose"]], dtype=np.float32)
    assert np.array_equal(published.labels, substring)
    exact = exact_labels(published.table["diagnose"], NAMES)
    different = {name for name, column in zip(NAMES, (published.labels != exact).T) if column.any()}
    assert different == set(SHIPPED_AND_EXACT)
    shipped_count, exact_count = positives(published.labels), positives(exact)
    assert {name: (shipped_count[name], exact_count[name]) for name in different} == SHIPPED_AND_EXACT


def test_exact_positives_of_the_test_split(published):
    exact = exact_labels(published.table["diagnose"], NAMES)
    counts = positives(exact[published.table["split"] == "test"])
    assert {name: counts[name] for name in EXACT_TEST} == EXACT_TEST
    for split in ("valid", "test"):
        empty = [name for name, count in positives(exact[published.table["split"] == split]).items() if not count]
        assert empty == ["VB"]


def test_records_without_any_class_stay(published):
    """D-E3."""
    nothing = published.table[published.labels.sum(axis=1) == 0]
    assert nothing["ecg_path"].map(lambda path: re.search(r"JS\d+", path)[0]).tolist() == ["JS04328", "JS01944"]
    assert set(nothing["diagnose"]) == {"SB,VPE"}
    none = exact_labels(published.table["diagnose"], NAMES).sum(axis=1) == 0
    assert [int(none[published.table["split"] == split].sum()) for split in ("train", "valid", "test")] == [116, 12, 19]
