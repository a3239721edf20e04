"""Attaching labels to a manifest."""

import json

import numpy as np
import pyarrow as pa
import pytest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.directory.split_meta import META_SCHEMA
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.store.shard_writer import write_records
from cmelt_plugin.errors import DataError
from preprocess import labels

CSV = "record_id,AF,MI\na,1,0\nb,,1.0\nd,0,0\nz,1,1\n"


@pytest.fixture
def manifest(tmp_path):
    """train: a, b, c; test: d."""
    folder = tmp_path / "m"
    shard, row = write_records(folder, np.zeros((4, 12, 5000)))
    for split, ids, chosen in (("train", list("abc"), slice(0, 3)), ("test", ["d"], slice(3, 4))):
        columns = {field.name: [None] * len(ids) for field in META_SCHEMA}
        meta = pa.table({**columns, "record_id": ids}, schema=META_SCHEMA)
        write_split(folder, split, ["records-00000.npy"], shard[chosen], row[chosen], row[chosen] * 0 + 5000, meta)
    return folder


def attach(manifest, text, *more):
    path = manifest.parent / "super.csv"
    path.write_text(text, encoding="utf-8")
    return labels.main(["--manifest", str(manifest), "--labels", str(path), *more])


def write_prompts(manifest, prompts):
    path = manifest.parent / "texts.json"
    path.write_text(json.dumps(prompts), encoding="utf-8")
    return ["--prompts", str(path)]


def test_labels_follow_the_record_id(manifest, capsys):
    assert attach(manifest, CSV) == 0
    values, names = Manifest.open(manifest, "train").labels()
    assert names == ["AF", "MI"] and values.dtype == np.float32
    assert np.array_equal(values, [[1, 0], [np.nan, 1], [np.nan, np.nan]], equal_nan=True)
    assert Manifest.open(manifest, "test").labels()[0].tolist() == [[0, 0]]
    assert read_json(manifest / "labels.json") == {"label_set": "super", "names": ["AF", "MI"]}
    out = capsys.readouterr().out
    assert "train: 3 records, 1 without a row" in out
    assert "AF: 1 present, 0 absent, 2 unknown" in out
    assert "1 rows of super.csv belong to no record" in out


def test_id_column_and_name(manifest):
    assert attach(manifest, CSV.replace("record_id", "ecg_id"), "--id-column", "ecg_id", "--label-set", "mine") == 0
    assert read_json(manifest / "labels.json")["label_set"] == "mine"


@pytest.mark.parametrize(
    "text, message",
    [
        (CSV.replace("record_id", "id"), "no column record_id"),
        ("record_id\na\n", "no class column"),
        (CSV + "a,1,1\n", "record_id a occurs more than once"),
        (CSV + "y,2,1\n", "record y, column AF: '2' is not 0, 1 or empty"),
        (CSV + "y,1,yes\n", "record y, column MI: 'yes'"),
        ("record_id,AF\nq,1\n", "none of its 1 ids occurs"),
    ],
)
def test_bad_labels(manifest, text, message):
    with pytest.raises(DataError, match=message):
        attach(manifest, text)
    assert Manifest.open(manifest, "train").labels() is None


def test_prompts_are_copied_in_the_order_of_the_classes(manifest):
    prompts = {"MI": ["myocardial infarction"], "AF": ["atrial fibrillation", "Vorhofflimmern \u00e4"]}
    attach(manifest, CSV, *write_prompts(manifest, prompts))
    assert read_json(manifest / "prompts.json") == prompts
    assert list(read_json(manifest / "prompts.json")) == ["AF", "MI"]


@pytest.mark.parametrize(
    "prompts, message",
    [
        ({"AF": ["x"]}, "no text for class MI"),
        ({"AF": ["x"], "MI": []}, "class MI has no text"),
        ({"AF": ["x"], "MI": [" "]}, "class MI: texts must be"),
        ({"AF": ["x"], "MI": 3}, "class MI: texts must be"),
        ({"AF": ["x"], "MI": ["x"], "CD": ["x"]}, "no such class in the labels: CD"),
        (["AF"], "expected an object"),
    ],
)
def test_bad_prompts(manifest, prompts, message):
    with pytest.raises(DataError, match=message):
        attach(manifest, CSV, *write_prompts(manifest, prompts))
    assert Manifest.open(manifest, "train").labels() is None


def test_texts_of_our_label_sets_are_taken_by_name(manifest):
    csv = "record_id,HYP,NORM,MI,CD,STTC\na,1,0,0,0,0\n"
    attach(manifest, csv, "--prompts", "ptb-xl-super")
    assert list(read_json(manifest / "prompts.json")) == ["HYP", "NORM", "MI", "CD", "STTC"]


def test_new_labels_do_not_keep_the_texts_of_others(manifest):
    attach(manifest, CSV, *write_prompts(manifest, {"AF": ["x"], "MI": ["y"]}))
    attach(manifest, CSV)
    with pytest.raises(DataError, match="prompts.json"):
        attach(manifest, CSV.replace("MI", "STTC"))
    attach(manifest, CSV.replace("MI", "STTC"), *write_prompts(manifest, {"AF": ["x"], "STTC": ["z"]}))
    assert Manifest.open(manifest, "train").labels()[1] == ["AF", "STTC"]


def test_folder_without_splits(tmp_path):
    with pytest.raises(DataError, match="holds no split"):
        attach(tmp_path / "m", CSV)


def test_class_texts_follow_the_order_of_the_classes(manifest):
    attach(manifest, CSV, *write_prompts(manifest, {"AF": ["a"], "MI": ["m"]}))
    attach(manifest, "record_id,MI,AF\na,1,0\n")
    assert list(read_json(manifest / "prompts.json")) == ["MI", "AF"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("record_id,AF,\na,1,0\n", "class column 2 has no name"),
        ("record_id,AF\na,\nb,\n", "says of no record .* whether it has a class"),
    ],
)
def test_tables_that_say_nothing_are_refused(manifest, text, message):
    with pytest.raises(DataError, match=message):
        attach(manifest, text)
    assert not (manifest / "labels.json").exists()
