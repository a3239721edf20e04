"""The classes of the PhysioNet/CinC Challenge 2021, against the challenge's own tables where they are at hand."""

import csv

import numpy as np
import pytest

from cmelt_plugin.prompts import class_names, load_prompts
from preprocess.data_sets.physionet2021_labels import COLUMN, LABEL_SET, NAMES, SCORED, label_row, split_codes


def test_26_classes_of_30_codes_each_once():
    codes = [code for scored in SCORED for code in scored.codes]
    assert len(SCORED) == len(set(NAMES)) == 26
    assert len(codes) == len(set(codes)) == len(COLUMN) == 30


def test_order_is_that_of_the_official_weights(real_data):
    path = real_data / "scoring" / "cinc2021_weights.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    header = next(csv.reader(path.open()))[1:]
    assert header == ["|".join(scored.codes) for scored in SCORED]


def test_names_are_the_official_abbreviations(real_data):
    path = real_data / "scoring" / "cinc2021_dx_mapping_scored.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    official = {row["SNOMEDCTCode"]: row["Abbreviation"] for row in csv.DictReader(path.open())}
    assert set(official) == set(COLUMN)
    assert [official[scored.codes[0]] for scored in SCORED] == list(NAMES)


def test_every_class_has_texts():
    assert set(class_names(LABEL_SET)) == set(NAMES)
    assert all(load_prompts(LABEL_SET)[name] for name in NAMES)


@pytest.mark.parametrize(
    "pair, name",
    [
        (("733534002", "164909002"), "CLBBB"),
        (("713427006", "59118001"), "CRBBB"),
        (("284470004", "63593006"), "PAC"),
        (("427172004", "17338001"), "PVC"),
    ],
)
def test_equivalent_codes_are_one_class(pair, name):
    rows = [label_row(codes) for codes in ([pair[0]], [pair[1]], pair)]
    for row in rows:
        assert [NAMES[column] for column in np.flatnonzero(row)] == [name] and row.max() == 1


def test_codes_that_are_not_scored_are_skipped():
    row = label_row(["429622005", "426783006", "164889003"])
    assert [NAMES[column] for column in np.flatnonzero(row)] == ["AF", "NSR"]
    assert label_row([]).shape == (26,) and not label_row([]).any() and label_row([]).dtype == np.float32


def test_codes_of_a_dx_line():
    assert split_codes("67741000119109,426177001") == ["67741000119109", "426177001"]
    assert split_codes(" 426177001, 59118001 ") == ["426177001", "59118001"]
    assert split_codes("Unknown") == [] == split_codes("")
