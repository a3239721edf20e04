"""The CPSC2018 command on both copies of a synthetic twin, and on real recordings where they are at hand."""

import csv
import shutil

import numpy as np
import pytest
from scipy.io import loadmat

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess import cpsc2018
from preprocess.cpsc2018 import find_copy, read_reference
from preprocess.synthetic_ecg.layouts import cpsc2018_layout
from preprocess.synthetic_ecg.layouts.cpsc2018_layout import classes_of, write_cpsc2018_layout

NAMES = class_names("cpsc2018")
N = 24
COLUMNS = ["patient_id", "ecg_id", "filename", "validation", "age", "sex", "scp_codes", *NAMES]


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """Both copies of the same recordings, and the classes of each."""
    root = tmp_path_factory.mktemp("cpsc2018")
    classes = write_cpsc2018_layout(root / "original", N, seed=5)
    assert write_cpsc2018_layout(root / "challenge", N, seed=5, challenge=True) == classes
    return root, classes


def run(root, dest, *more):
    assert cpsc2018.main(["--root", str(root), "--dest", str(dest), "--jobs", "1", *map(str, more)]) == 0
    return contents(dest)


def contents(directory):
    """record → (split, mV [12, 5000], real samples, classes, row of the meta file)."""
    found = {}
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        signals = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
        values, names = manifest.labels()
        assert names == NAMES
        for i, meta in enumerate(manifest.meta(["record_id", "subject_id", "sex", "age", "source"]).to_pylist()):
            classes = {name for name, value in zip(names, values[i]) if value == 1}
            found[meta["record_id"]] = (split, signals[i], int(manifest.n_samples[i]), classes, meta)
    return found


def original(root, record):
    fields = loadmat(next((root / "original").rglob(f"{record}.mat")), simplify_cells=True)["ECG"]
    return fields["data"], fields["sex"], fields["age"]


def write_splits(folder, rows, columns=COLUMNS):
    """Files of the published form; ``rows`` maps train, val and test to lists of (record, classes)."""
    folder.mkdir()
    for name, entries in rows.items():
        with open(folder / f"icbeb_{name}.csv", "w", newline="") as handle:
            table = csv.DictWriter(handle, columns, restval="")
            table.writeheader()
            for record, classes in entries:
                labels = {label: int(label in classes) for label in NAMES}
                fixed = {"patient_id": 7, "ecg_id": 7, "filename": record, "sex": 0, "age": "", "scp_codes": "{}"}
                table.writerow({**fixed, **labels})
    return folder


@pytest.mark.parametrize("copy", ["original", "challenge"])
def test_both_copies(twin, tmp_path, copy):
    root, classes = twin
    found = run(root / copy, tmp_path)
    assert {record: entry[3] for record, entry in found.items()} == {name: set(labels) for name, labels in classes.items()}
    assert any(entry[2] < 5000 for entry in found.values()) and any(entry[2] == 5000 for entry in found.values())
    for record, (_, signal, n_samples, _, meta) in found.items():
        data, sex, age = original(root, record)
        kept = min(data.shape[1], 5000)
        assert n_samples == kept and not signal[:, kept:].any()
        assert np.abs(signal[:, :kept] - data[:, :kept]).max() <= 0.0005 + 1e-6
        assert (meta["sex"], meta["age"], meta["subject_id"]) == (sex[0], age, record)
    labels = read_json(tmp_path / "labels.json")
    assert (labels["label_set"], labels["names"], labels["prompts"]["kind"]) == ("cpsc2018", NAMES, "description")
    assert set(read_json(tmp_path / "prompts.json")) == set(NAMES)
    assert (tmp_path / "flat-leads.tsv").read_text() == "record_id\tsplit\tleads\n"


def test_the_first_five_seconds_only(twin, tmp_path):
    """D-E5: by default 10 s are kept; the comparison with older code is a choice, and padding stays zero."""
    root, _ = twin
    whole = run(root / "original", tmp_path / "whole")
    for copy in ("original", "challenge"):
        short = run(root / copy, tmp_path / copy, "--legacy-5s")
        for record, (_, signal, n_samples, classes, meta) in short.items():
            assert n_samples == 2500 and not signal[:, 2500:].any()
            assert np.abs(signal[:, :2500] - whole[record][1][:, :2500]).max() <= 0.0011
            assert classes == whole[record][3] and meta["source"] == "cpsc2018-5s"
    with pytest.raises(DataError, match="holds recordings of cpsc2018-5s, not of cpsc2018"):
        run(root / "original", tmp_path / "again", "--store", tmp_path / "original")


def test_published_splits_decide(twin, tmp_path, capsys):
    """D-E1, D-E4: columns by name, records by file name, age and sex from the recordings."""
    root, classes = twin
    records = list(classes)
    wrong = {"AFIB"} ^ set(classes[records[0]])  # the split files are right about labels, whoever else says something
    rows = {
        "train": [(records[0], wrong), *((record, classes[record]) for record in records[1:10])],
        "val": [(record, classes[record]) for record in records[10:13]],
        "test": [*((record, classes[record]) for record in records[13:20]), ("A9999", {"NORM"})],
    }
    splits = write_splits(tmp_path / "splits", rows, columns=[*reversed(NAMES), *COLUMNS[:7]])
    found = run(root / "original", tmp_path / "m", "--splits", splits)
    assert {record: entry[0] for record, entry in found.items()} == {
        record: {"val": "valid"}.get(name, name) for name, entries in rows.items() for record, _ in entries if record != "A9999"
    }
    for entries in rows.values():
        for record, labels in entries:
            if record != "A9999":
                assert found[record][3] == set(labels)
                assert found[record][4]["age"] == original(root, record)[2]
                assert found[record][4]["sex"] == original(root, record)[1][0]
    out = capsys.readouterr().out
    assert f"REFERENCE.csv and the split files: 1 of {20 * 9} cells differ\n  AFIB: 1" in out
    assert f"{N - 20} recordings are in no split file and left out" in out
    rejected = (tmp_path / "m" / "rejected.tsv").read_text().splitlines()[1:]
    assert rejected == ["A9999\tA9999\tmissing: A9999.mat: No such file or directory"]


def test_bad_recordings_are_listed(twin, tmp_path):
    root, classes = twin
    shutil.copytree(root / "challenge", tmp_path / "data")
    place = tmp_path / "data" / "g1"
    (place / "A0001.mat").write_bytes(b"x" * 100)
    (place / "A0002.hea").unlink()
    found = run(tmp_path / "data", tmp_path / "m")
    assert set(found) == set(classes) - {"A0001", "A0002"}
    rejected = dict(line.split("\t")[::2] for line in (tmp_path / "m" / "rejected.tsv").read_text().splitlines()[1:])
    assert rejected["A0001"].startswith("truncated: A0001.mat has 100 bytes")
    assert rejected["A0002"].startswith("missing: A0002.hea")


def test_a_recording_that_is_there_twice_is_rejected_once(twin, tmp_path):
    root, classes = twin
    shutil.copytree(root / "original", tmp_path / "data")
    shutil.copytree(root / "original" / "TrainingSet1", tmp_path / "data" / "copy")
    assert set(run(tmp_path / "data", tmp_path / "m")) == set(classes)
    assert read_json(tmp_path / "m" / "manifest.json")["counts"]["rejected"] == {"duplicate": N // 3}


def test_folders_that_cannot_be_used(twin, tmp_path):
    root, _ = twin
    with pytest.raises(DataError, match="no recordings; expected CPSC2018"):
        find_copy(tmp_path)
    with pytest.raises(DataError, match="A0001 is there with and without .hea; give the folder of one copy"):
        find_copy(root)
    shutil.copytree(root / "original" / "TrainingSet1", tmp_path / "bare")
    with pytest.raises(DataError, match="no REFERENCE.csv and no diagnoses in headers; give the labels with --splits"):
        run(tmp_path / "bare", tmp_path / "m")


def write_reference(path, *rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["Recording,First_label,Second_label,Third_label", *rows]) + "\n")


def test_reference_files(tmp_path):
    write_reference(tmp_path / "a" / "REFERENCE.csv", "A0001,5,,", "A0002,2.0,6,8", "A0004,,,")
    write_reference(tmp_path / "b" / "REFERENCE.csv", "A0001,5,,", "A0003,1,NaN,NaN")
    records, labels = read_reference(tmp_path, NAMES)
    classes = [{name for name, value in zip(NAMES, row) if value} for row in labels]
    expected = {"A0001": {"CRBBB"}, "A0002": {"AFIB", "PAC", "STD"}, "A0003": {"NORM"}}
    assert dict(zip(records, classes)) == expected
    assert read_reference(tmp_path / "a" / "none", NAMES) is None


@pytest.mark.parametrize(
    "row, message", [("A0001,10,,", "A0001: label '10' is not a number from 1 to 9"), ("A0001,2,,", "A0001 occurs twice")]
)
def test_faulty_reference_files(tmp_path, row, message):
    write_reference(tmp_path / "a" / "REFERENCE.csv", "A0001,5,,")
    write_reference(tmp_path / "b" / "REFERENCE.csv", row)
    with pytest.raises(DataError, match=f"REFERENCE.csv.*{message}"):
        read_reference(tmp_path, NAMES)


def test_the_twin_is_the_same_for_the_same_seed(tmp_path, capsys):
    arguments = ["--records", "3", "--seed", "2", "--dest"]
    assert cpsc2018_layout.main([*arguments, str(tmp_path / "a")]) == 0
    assert "3 records in" in capsys.readouterr().out
    write_cpsc2018_layout(tmp_path / "b", 3, seed=2)
    for record in ("A0001", "A0002", "A0003"):
        a, b = (loadmat(next((tmp_path / x).rglob(f"{record}.mat")), simplify_cells=True)["ECG"] for x in "ab")
        assert np.array_equal(a["data"], b["data"]) and a["age"] == b["age"]
        assert 3000 <= a["data"].shape[1] < 7500
    with pytest.raises(DataError, match="not an empty folder"):
        write_cpsc2018_layout(tmp_path / "a", 3)


def test_classes_of_findings():
    assert classes_of(frozenset({"SR", "NORM"})) == ["NORM"]
    assert classes_of(frozenset({"SR", "LNGQT"})) == []
    assert classes_of(frozenset({"AFIB", "PVC", "LVH"})) == ["AFIB", "VPC"]


def test_real_recordings(real_data, tmp_path):
    root, splits = real_data / "cpsc2018", real_data / "splits"
    if not root.is_dir() or not (splits / "icbeb").is_dir():
        pytest.skip(f"no CPSC2018 at {root} with splits at {splits}")
    found = run(root, tmp_path, "--splits", splits)
    assert {record: (entry[0], entry[3]) for record, entry in found.items()} == {
        "A1980": ("train", {"PAC"}),
        "A1981": ("train", {"STD"}),
        "A1982": ("valid", {"1AVB"}),
        "A1983": ("test", {"NORM"}),
        "A1984": ("test", {"STD"}),
        "A1985": ("train", {"STD"}),
        "A1986": ("train", {"CRBBB"}),
        "A1987": ("train", {"CRBBB"}),
        "A1988": ("train", {"1AVB"}),
        "A1989": ("train", {"1AVB"}),
    }
    for record, (_, signal, n_samples, _, meta) in found.items():
        fields = loadmat(root / f"{record}.mat", simplify_cells=True)["ECG"]
        assert np.abs(signal - fields["data"][:, :5000]).max() <= 0.0005 + 1e-6 and n_samples == 5000
        assert (meta["sex"], meta["age"]) == (fields["sex"][0], fields["age"])
    assert read_json(tmp_path / "manifest.json")["counts"] == {"in": 6877, "out": 10, "rejected": {"missing": 6867}}
