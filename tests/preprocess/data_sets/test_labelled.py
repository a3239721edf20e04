"""Labelled manifest directories: what the commands of the evaluation sets share."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import fingerprint, read_json
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.text.prompt_copies import copied_kind
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import load_prompts
from preprocess.data_sets.labelled import (
    LabelTable,
    add_labelled_arguments,
    class_texts,
    pack_labelled,
    settle_defaults,
)
from preprocess.packing.records import records_table
from tests.preprocess.mimic_layout import make_ecg

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{i}" for i in range(1, 7))]
SUPER = ["HYP", "NORM", "MI", "CD", "STTC"]
VALUES = np.array([[0, 1, 0, 0, 0], [1, 0, 0, np.nan, 1], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1]], dtype=np.float32)
READ = []


def read_made_up(path):
    """A reader without files: b has a flat lead; c lasts 14 s, its first 4 s are 9 mV."""
    name = Path(path).name
    READ.append(name)
    ecg = make_ecg(ord(name), seconds=14 if name == "c" else 10)
    if name == "b":
        ecg[3] = 0.25
    if name == "c":
        ecg[:, :2000] = 9.0
    return Recording(ecg, LEADS, ["mV"] * 12, 500)


def records(names="abcd", split=("train", "train", "valid", "test")):
    return records_table(record_id=list(names), path=list(names), subject_id=list(names), split=list(split))


def parse(root, dest, *more, optional=False):
    parser = argparse.ArgumentParser()
    add_labelled_arguments(parser, optional=optional)
    return parser.parse_args(["--root", str(root), "--dest", str(dest), "--jobs", "1", *map(str, more)])


def build(folder, *more, label_set="ptb-xl-super", names=SUPER, record_id="abcd", values=VALUES, table=None, **keywords):
    labels = LabelTable(label_set, names, list(record_id), values)
    args = parse(folder / "root", folder / "m", *more)
    table = records() if table is None else table
    return pack_labelled(table, labels, args, data_set="made-up", command="test", reader=read_made_up, **keywords)


def labels_by_id(directory):
    found = {}
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        found.update(zip(manifest.meta(["record_id"])["record_id"].to_pylist(), manifest.labels()[0].tolist()))
    return found


def test_labels_follow_the_record(tmp_path, capsys):
    order = [2, 0, 3, 1]
    assert build(tmp_path, record_id=[list("abcd")[i] for i in order], values=VALUES[order]) == 0
    found = labels_by_id(tmp_path / "m")
    assert all(np.array_equal(found[name], row, equal_nan=True) for name, row in zip("abcd", VALUES))
    labels = read_json(tmp_path / "m" / "labels.json")
    assert (labels["label_set"], labels["names"], copied_kind(tmp_path / "m")) == ("ptb-xl-super", SUPER, "description")
    assert read_json(tmp_path / "m" / "prompts.json") == load_prompts("ptb-xl-super")
    out = capsys.readouterr().out
    assert "train: 2 records, 0 without a row in the labels of made-up" in out
    assert "  CD: 0 present, 1 absent, 1 unknown" in out


def test_flat_leads_and_missing_reports_stay_in_by_default(tmp_path):
    build(tmp_path)
    assert read_json(tmp_path / "m" / "manifest.json")["counts"] == {"in": 4, "out": 4, "rejected": {}}
    (tmp_path / "strict").mkdir()
    build(tmp_path / "strict", "--allow-flat-leads", "0")
    assert read_json(tmp_path / "strict" / "m" / "manifest.json")["counts"]["rejected"] == {"flat": 1}


def test_defaults_of_commands_with_two_purposes(tmp_path):
    args = settle_defaults(parse(tmp_path, tmp_path, optional=True), labelled=True)
    assert (args.allow_flat_leads, args.allow_no_report) == (11, True)
    args = settle_defaults(parse(tmp_path, tmp_path, optional=True), labelled=False)
    assert (args.allow_flat_leads, args.allow_no_report) == (0, False)
    args = settle_defaults(parse(tmp_path, tmp_path, "--allow-flat-leads", "3", optional=True), labelled=True)
    assert (args.allow_flat_leads, args.allow_no_report) == (3, True)
    args = settle_defaults(parse(tmp_path, tmp_path, "--allow-no-report", optional=True), labelled=False)
    assert (args.allow_flat_leads, args.allow_no_report) == (0, True)


def test_the_centre_is_kept_where_the_data_set_says_so(tmp_path):
    from cmelt_plugin.data.store.record_store import RecordStore

    for crop, high in (("start", 2000), ("centre", 1000)):  # the middle 10 of 14 s begin at 2 s, and 4 s are high
        (tmp_path / crop).mkdir()
        build(tmp_path / crop, crop=crop)
        manifest = Manifest.open(tmp_path / crop / "m", "valid")
        ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)[0]
        assert int((ecg[0] == 9).sum()) == high


def test_records_without_labels_are_unknown(tmp_path, capsys):
    build(tmp_path, record_id="abx", values=VALUES[:3])
    found = labels_by_id(tmp_path / "m")
    assert np.isnan(found["c"]).all() and np.isnan(found["d"]).all() and found["a"] == VALUES[0].tolist()
    assert "valid: 1 records, 1 without a row" in capsys.readouterr().out


def test_of_a_repeated_id_the_first_row_counts(tmp_path):
    build(tmp_path, record_id="abcda", values=np.concatenate([VALUES, 1 - VALUES[:1]]))
    assert labels_by_id(tmp_path / "m")["a"] == VALUES[0].tolist()


def test_labels_of_other_records_are_refused(tmp_path):
    with pytest.raises(DataError, match="none of its 4 ids occurs"):
        build(tmp_path, record_id="wxyz")


def test_corrected_labels_need_no_packing(tmp_path):
    build(tmp_path)
    before = {path.name: fingerprint(path) for path in (tmp_path / "m").glob("records-*")}
    READ.clear()
    build(tmp_path, values=1 - VALUES)
    assert READ == [] and before == {path.name: fingerprint(path) for path in (tmp_path / "m").glob("records-*")}
    assert labels_by_id(tmp_path / "m")["a"] == (1 - VALUES[0]).tolist()


def test_another_label_set_needs_overwrite(tmp_path):
    build(tmp_path)
    names = ["PAC", "DIG", "HVOLT", "STD", "LPR"]
    with pytest.raises(DataError, match="holds the labels of ptb-xl-super with 5 classes; give --overwrite"):
        build(tmp_path, label_set="ptb-xl-form", names=names)
    with pytest.raises(DataError, match="holds the labels of ptb-xl-super"):
        build(tmp_path, names=SUPER[::-1])  # same classes in another order: columns would change their meaning
    build(tmp_path, "--overwrite", label_set="ptb-xl-form", names=names)
    assert read_json(tmp_path / "m" / "labels.json")["names"] == names
    assert list(read_json(tmp_path / "m" / "prompts.json")) == names


def test_changed_records_are_refused(tmp_path):
    build(tmp_path)
    with pytest.raises(DataError, match="different: records"):
        build(tmp_path, table=records("abc", ("train", "valid", "test")))


def test_a_label_set_of_ones_own_needs_no_class_texts(tmp_path, capsys):
    build(tmp_path, label_set="mine")
    assert not (tmp_path / "m" / "prompts.json").exists()
    assert "no class texts for mine: zero-shot classification needs --prompts" in capsys.readouterr().err


def test_class_texts_of_ones_own(tmp_path):
    path = tmp_path / "texts.json"
    path.write_text(json.dumps({"MORE": ["x"], **{name: [f"text of {name}"] for name in SUPER[::-1]}}), encoding="utf-8")
    build(tmp_path, "--prompts", path, label_set="mine")
    found = read_json(tmp_path / "m" / "prompts.json")
    assert list(found) == SUPER and found["MI"] == ["text of MI"]
    build(tmp_path, label_set="mine")  # without texts those of before do not stay
    assert not (tmp_path / "m" / "prompts.json").exists()


@pytest.mark.parametrize("kind", ["name", "abbreviation", "description", "all"])
def test_kinds_of_class_texts(tmp_path, kind):
    build(tmp_path, "--prompt-kind", kind)
    assert read_json(tmp_path / "m" / "prompts.json") == load_prompts("ptb-xl-super", kind)


def test_class_texts_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="ptb-xl-super: no class text for AF, PVC; give a file that has one with --prompts"):
        class_texts("ptb-xl-super", "description", ["AF", "MI", "PVC"])
    with pytest.raises(DataError, match="neither a JSON file nor a label set"):
        build(tmp_path, "--prompts", tmp_path / "missing.json")
    with pytest.raises(DataError, match="no class text for AF"):
        build(tmp_path, names=["AF", *SUPER[1:]])
    assert not (tmp_path / "m").exists()


def test_labels_are_the_same_over_a_store(tmp_path):
    build(tmp_path)
    (tmp_path / "n").mkdir()
    READ.clear()
    build(tmp_path / "n", "--store", tmp_path / "m", label_set="mine", names=["A", "B", "C", "D", "E"])
    assert READ == []
    assert str(labels_by_id(tmp_path / "n" / "m")) == str(labels_by_id(tmp_path / "m"))
    assert read_json(tmp_path / "m" / "labels.json")["label_set"] == "ptb-xl-super"
