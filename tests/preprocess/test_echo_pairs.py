"""Pairs of the synthetic twin and of tables: rows, splits, labels, counts, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_teacher import write_tiny_teacher

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.teacher import TeacherEntry, write_teacher
from cmelt_plugin.errors import DataError
from cmelt_plugin.verify import main as verify
from preprocess import echo_pairs, mimic_iv_ecg, synthetic


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("cohort") / "twin"
    assert synthetic.main(["--records", "40", "--subjects", "14", "--seed", "5", "--dest", str(root), "--echo"]) == 0
    return root


@pytest.fixture(scope="module")
def packed(cohort: Path) -> Path:
    dest = cohort.parent / "packed"
    assert mimic_iv_ecg.main(["--root", str(cohort), "--dest", str(dest), "--jobs", "1"]) == 0
    return dest


def pairs(cohort: Path, dest: Path, *more: str) -> Path:
    arguments = ["--root", str(cohort), "--echo-root", str(cohort / "echo"), "--dest", str(dest), "--jobs", "1", *more]
    assert echo_pairs.main(arguments) == 0
    return dest


def rows(directory: Path) -> pd.DataFrame:
    parts = [Manifest.open(directory, split).meta().to_pandas().assign(split=split) for split in available_splits(directory)]
    return pd.concat(parts, ignore_index=True)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_twin_becomes_rows_of_both_sources(cohort: Path, packed: Path, tmp_path: Path) -> None:
    made = pairs(cohort, tmp_path / "pairs", "--store", str(packed), "--with-text", "--measured")
    found = rows(made)
    assert len(found) == 40 and set(found["source"]) == {"ecg_echo", "ecg_text"}
    echo, text = found[found["source"] == "ecg_echo"], found[found["source"] == "ecg_text"]
    assert text["teacher_id"].isna().all() and echo["teacher_id"].is_unique
    filmed = {row["study_id"]: row for row in table(cohort / "echo" / "echo-study-list.csv")}
    times = {row["study_id"]: row for row in table(cohort / "record_list.csv")}
    for row in echo.itertuples():
        study = filmed[row.teacher_id]
        hours = (pd.Timestamp(study["study_datetime"]) - pd.Timestamp(times[row.record_id]["ecg_time"])).total_seconds() / 3600
        assert study["subject_id"] == row.subject_id and abs(hours) <= 168 and abs(hours - row.delta_hours) < 0.01
    truth = {row["echo_study_id"]: float(row["lvef"]) for row in table(cohort / "echo" / "truth.csv")}
    known = echo[echo["lvef"].notna()]
    assert len(known) > 10 and np.abs(known["lvef"] - known["teacher_id"].map(truth)).max() < 15
    assert text["delta_hours"].isna().any() and text["lvef"].notna().any()  # measured, but not filmed
    assert found.groupby("subject_id")["split"].nunique().max() == 1
    for split in available_splits(made):
        manifest = Manifest.open(made, split)
        labels, names = manifest.labels()
        lvef = manifest.meta(["lvef"])["lvef"].to_numpy()
        assert names == ["lvef_lt_30", "lvef_lt_40", "lvef_lt_50"]
        expected = np.where(np.isnan(lvef)[:, None], np.nan, lvef[:, None] < [30, 40, 50])
        assert np.array_equal(labels.astype(float), expected, equal_nan=True)
    notes = json.loads((made / "manifest.json").read_text())["notes"]
    assert any(note.startswith("ejection fraction of the tests: biplane_lvef") for note in notes)
    assert f"filmed: pairs: {len(echo)} of {len(echo)} echocardiograms" in " ".join(notes)
    assert "label lvef_lt_40: lvef < 40" in notes
    assert "left ventricular ejection" in json.loads((made / "prompts.json").read_text())["lvef_lt_40"][0]
    assert verify([str(made)]) == 0


def test_without_text_only_pairs_are_packed_and_other_pairs_are_another_directory(cohort: Path, tmp_path: Path, capsys) -> None:
    made = pairs(cohort, tmp_path / "pairs")
    found = rows(made)
    assert set(found["source"]) == {"ecg_echo"} and (found["delta_hours"].abs() <= 168).all() and len(found) < 40
    assert (made / "records-00000.npy").is_file()
    pairs(cohort, made)
    assert "was complete already" in capsys.readouterr().out
    with pytest.raises(DataError, match="different: records"):
        pairs(cohort, made, "--window-hours", "24")
    pairs(cohort, made, "--window-hours", "24", "--overwrite")
    assert rows(made)["delta_hours"].abs().max() <= 24
    every = rows(pairs(cohort, tmp_path / "every", "--window-hours", "9000", "--every-recording"))
    assert every["record_id"].is_unique and not every["teacher_id"].is_unique


def sidecar(path: Path, ids: list[str], level: str) -> Path:
    unit = np.eye(4, dtype=np.float32)[0]
    single = np.full(4, np.log(1e-8), np.float32)
    return write_teacher(path, [TeacherEntry(name, unit, single, 1.0, 1) for name in ids], encoder="synthetic", level=level)


def test_only_echocardiograms_of_the_sidecar_have_a_teacher(cohort: Path, packed: Path, tmp_path: Path) -> None:
    listed = table(cohort / "echo" / "echo-record-list.csv")
    studies = sorted({row["study_id"] for row in listed})[::2]
    store = ("--store", str(packed))
    by_study = rows(pairs(cohort, tmp_path / "a", *store, "--teacher", str(sidecar(tmp_path / "t", studies, "study"))))
    assert set(by_study["teacher_id"]) <= set(studies) and len(by_study) > 3
    videos = [Path(row["dicom_filepath"]).stem for row in listed if row["study_id"] in studies]
    by_video = rows(pairs(cohort, tmp_path / "b", *store, "--teacher", str(sidecar(tmp_path / "v", videos, "video"))))
    assert set(by_video["teacher_id"]) <= set(videos)
    assert [name.split("_")[0] for name in by_video["teacher_id"]] == by_study["teacher_id"].tolist()
    assert len({name.split("_")[1] for name in by_video["teacher_id"]}) > 1
    with pytest.raises(DataError, match="is of level video"):
        pairs(cohort, tmp_path / "c", "--teacher", str(tmp_path / "v"), "--level", "study")
    with pytest.raises(DataError, match="no recording has an echocardiogram within 168 h"):
        pairs(cohort, tmp_path / "c", "--teacher", str(write_tiny_teacher(tmp_path / "other")))


def test_tables_of_ones_own(cohort: Path, tmp_path: Path) -> None:
    listed = table(cohort / "record_list.csv")[:12]
    with open(tmp_path / "ecg.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["record_id", "path", "subject_id", "time", "text"])
        writer.writerows([row["study_id"], row["path"], row["subject_id"], row["ecg_time"], "sinus rhythm"] for row in listed)
    with open(tmp_path / "echo.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["teacher_id", "subject_id", "time", "ef", "dilated"])
        lvef = [35, "", 30, 29, 61, 50]
        for number, row in enumerate(listed[:6]):
            name = "" if number == 5 else f"e{number}"
            writer.writerow([name, row["subject_id"], row["ecg_time"], lvef[number], number % 2])
    common = ["--root", str(cohort), "--recordings", str(tmp_path / "ecg.csv"), "--report-column", "text", "--jobs", "1"]
    common += ["--echo-table", str(tmp_path / "echo.csv")]
    columns = ["--lvef-column", "ef", "--label-columns", "dilated"]
    assert echo_pairs.main([*common, *columns, "--dest", str(tmp_path / "made"), "--measured", "--with-text"]) == 0
    found = rows(tmp_path / "made").set_index("record_id").loc[[row["study_id"] for row in listed]]
    assert found["teacher_id"].tolist()[:5] == ["e0", "e1", "e2", "e3", "e4"] and found["teacher_id"].isna().sum() == 7
    assert found["source"].tolist() == ["ecg_echo"] * 5 + ["ecg_text"] * 7
    assert np.array_equal(found["lvef"].to_numpy()[:6], [35, np.nan, 30, 29, 61, 50], equal_nan=True)
    assert json.loads((tmp_path / "made" / "labels.json").read_text())["names"][-1] == "dilated"
    labels = {}
    for split in available_splits(tmp_path / "made"):
        manifest = Manifest.open(tmp_path / "made", split)
        labels.update(zip(manifest.meta(["record_id"])["record_id"].to_pylist(), manifest.labels()[0].tolist()))
    assert labels[listed[2]["study_id"]] == [0, 1, 1, 0]  # 30 is not below 30
    assert labels[listed[3]["study_id"]] == [1, 1, 1, 1]
    # Nothing measured: no labels.
    assert echo_pairs.main([*common, "--dest", str(tmp_path / "plain")]) == 0
    assert not (tmp_path / "plain" / "labels.json").exists() and rows(tmp_path / "plain")["lvef"].isna().all()


@pytest.mark.parametrize(
    "echo, more, reason",
    [
        ("teacher_id,subject_id,time,ef\ne,1,2150,170\n", [], "row 1, column ef: '170' is no number of 0 to 100"),
        ("teacher_id,subject_id,time,ef\ne,1,2150,0.5\n", [], "must be per cent"),
        ("teacher_id,subject_id,time,ef\ne,1,2150,\ne,1,2150,\n", [], "teacher_id e occurs twice"),
        ("teacher_id,subject_id,ef\ne,1,\n", [], "no column time"),
        ("teacher_id,subject_id,time,ef\ne,1,2150,50\n", ["--label-columns", "x"], "no column x"),
    ],
)
def test_faults_of_tables_are_named(cohort: Path, tmp_path: Path, echo: str, more: list[str], reason: str) -> None:
    (tmp_path / "echo.csv").write_text(echo)
    arguments = ["--root", str(cohort), "--echo-table", str(tmp_path / "echo.csv"), "--lvef-column", "ef", *more]
    with pytest.raises(DataError, match=reason):
        echo_pairs.main([*arguments, "--dest", str(tmp_path / "x")])


def test_arrays_have_to_be_explained_and_columns_need_a_table(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "ecg.csv").write_text("record_id,path,subject_id,time\na,a.npy,1,2150-01-01\n")
    common = ["--root", str(cohort), "--dest", str(tmp_path / "x"), "--echo-root", str(cohort / "echo")]
    with pytest.raises(DataError, match="a.npy does not say what its numbers are; give --leads"):
        echo_pairs.main([*common, "--recordings", str(tmp_path / "ecg.csv")])
    with pytest.raises(DataError, match="name columns of --echo-table"):
        echo_pairs.main([*common, "--lvef-column", "ef"])
