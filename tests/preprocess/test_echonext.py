"""EchoNext's layout: rows and waveforms belong together, flags are labels, and waveforms get their unit back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.leads import lead_indices
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess import echonext
from preprocess.synthetic_ecg.echo.ejection import plan_with_ejection
from preprocess.synthetic_ecg.layouts.echonext_layout import FLAGS, write_echonext_layout
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import render


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("echonext") / "twin"
    write_echonext_layout(folder, 24, seed=2)
    return folder


def make(root: Path, dest: Path, *more: str) -> Path:
    assert echonext.main(["--root", str(root), "--dest", str(dest), "--jobs", "1", *more]) == 0
    return dest


def metadata(root: Path) -> dict[str, dict[str, str]]:
    with open(root / "echonext_metadata_100k.csv", newline="") as handle:
        return {row["ecg_key"]: row for row in csv.DictReader(handle)}


def records(directory: Path):
    """Split, meta, labels and millivolts ``[12, 5000]`` of every record."""
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        store = RecordStore(manifest.store_root)
        meta, (labels, _) = manifest.meta().to_pandas(), manifest.labels()
        for number in range(len(manifest)):
            ecg = store.read(manifest.shard[number : number + 1], manifest.row[number : number + 1])[0]
            yield split, meta.iloc[number], labels[number], ecg


def test_every_record_has_its_own_waveform_labels_and_split(root: Path, tmp_path: Path) -> None:
    parameters = ["--normalization", str(root / "waveform_normalization_params.json"), "--units-per-mv", "200"]
    listed, seen = metadata(root), 0
    for split, meta, labels, ecg in records(make(root, tmp_path / "made", *parameters)):
        row = listed[meta["record_id"]]
        assert {"train": "train", "val": "valid", "test": "test"}[row["split"]] == split
        assert labels.tolist() == [int(row[name]) for name in FLAGS]
        assert (meta["subject_id"], meta["sex"]) == (row["patient_key"], "FM"[int(row["sex"])])
        assert (meta["age"], meta["lvef"]) == (int(row["age_at_ecg"]), float(row["lvef_value"]))
        assert (meta["lvef"] <= 45) == bool(labels[0]) or abs(meta["lvef"] - 45) < 1
        index, subject = int(row["ecg_key"][1:]), int(row["patient_key"][1:])
        plan, _ = plan_with_ejection(2, index, subject, draw_subject(2, subject))
        wanted = render(plan, 250)[lead_indices(MIMIC_LEADS)]
        assert np.abs(ecg[:, ::2] - wanted).max() < 0.1 and np.median(np.abs(ecg[:, ::2] - wanted)) < 0.003
        seen += 1
    assert seen == sum(row["split"] != "no_split" for row in listed.values())
    notes = json.loads((tmp_path / "made" / "manifest.json").read_text())["notes"]
    assert any("200 units a millivolt" in note for note in notes) and any("no_split are left out" in note for note in notes)
    assert json.loads((tmp_path / "made" / "labels.json").read_text())["names"] == class_names("echonext") == list(FLAGS)


def test_without_means_a_standard_deviation_has_a_size(root: Path, tmp_path: Path) -> None:
    made = make(root, tmp_path / "made", "--mv-per-unit", "0.5", "--limit", "3")
    everything = np.concatenate([np.load(echonext.waveform_file(root, split)) for split in ("train", "val", "test")])
    _, meta, _, ecg = next(records(made))
    distance = np.abs(everything[:, 0].transpose(0, 2, 1) * 0.5 - ecg[:, ::2]).max(axis=(1, 2))
    assert distance.min() < 0.3 < np.median(distance)
    assert "taken for 0.5 mV each" in json.loads((made / "manifest.json").read_text())["notes"][0]


def test_version_1_0_has_capital_letters_and_no_ejection_fractions(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    table = pd.read_csv(root / "echonext_metadata_100k.csv", dtype=str).drop(columns="lvef_value")
    table["sex"] = table["sex"].map({"0": "Female", "1": "Male"})
    table.to_csv(old / "EchoNext_metadata_100k.csv", index=False)
    for path in root.glob("*.npy"):
        (old / path.name).symlink_to(path)
    found = list(records(make(old, tmp_path / "made")))
    assert "lvef" not in found[0][1] and {meta["sex"] for _, meta, _, _ in found} == {"F", "M"}


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda root: (root / "EchoNext_val_waveforms.npy").unlink(), "EchoNext_val_waveforms.npy: no such file"),
        (lambda root: np.save(root / "EchoNext_val_waveforms.npy", np.zeros((9, 1, 2500, 12))), "but echonext_metadata"),
        (lambda root: (root / "EchoNext_val_waveforms.npy").write_text("x"), "EchoNext_val_waveforms.npy: unreadable"),
        (lambda root: (root / "echonext_metadata_100k.csv").unlink(), "EchoNext_metadata_100k.csv: no such file"),
        (lambda root: replace(root, ",train,", ",training,"), "split 'training'; known are"),
        (lambda root: replace(root, "shd_moderate", "any_moderate"), "no column shd_moderate_or_greater_flag"),
    ],
)
def test_faults_of_the_layout_are_named(root: Path, tmp_path: Path, change, reason: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in root.iterdir():
        (copy / path.name).write_bytes(path.read_bytes()) if path.suffix == ".csv" else (copy / path.name).symlink_to(path)
    if "unreadable" in reason or "but" in reason:
        (copy / "EchoNext_val_waveforms.npy").unlink()
    change(copy)
    with pytest.raises(DataError, match=reason):
        make(copy, tmp_path / "made")


def replace(root: Path, old: str, new: str) -> None:
    path = root / "echonext_metadata_100k.csv"
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    "text, more, reason",
    [
        ('{"mean": [0], "std": [1]}', ["--units-per-mv", "200"], "mean must be a list of 12 numbers"),
        (json.dumps({"mean": [0] * 12, "std": [0] * 12}), ["--units-per-mv", "200"], "std must be above 0"),
        ("{}", [], "give --units-per-mv"),
        (None, ["--units-per-mv", "200"], "goes with --normalization"),
    ],
)
def test_means_that_are_none_are_named(root: Path, tmp_path: Path, text: str | None, more: list[str], reason: str) -> None:
    if text is not None:
        (tmp_path / "p.json").write_text(text)
        more = ["--normalization", str(tmp_path / "p.json"), *more]
    with pytest.raises(DataError, match=reason):
        make(root, tmp_path / "made", *more)
