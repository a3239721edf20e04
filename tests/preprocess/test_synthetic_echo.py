"""The synthetic cohort with echocardiograms: signals, frames, tables and reports agree on the ejection fraction."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from cmelt_plugin.data.teacher import teacher_gaussian
from cmelt_plugin.data.teacher.prompts import read_prompts
from cmelt_plugin.errors import DataError
from preprocess import synthetic
from preprocess.synthetic_ecg.echo.echo_frames import DIM, draw_prompts, draw_study, draw_videos, heart_of
from preprocess.synthetic_ecg.echo.ejection import HIGHEST, LOWEST, draw_ejection, ejection_statement, plan_with_ejection
from preprocess.synthetic_ecg.layouts.mimic_echo_layout import COLUMNS, MEASUREMENTS
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import plan_record


@pytest.fixture(scope="module")
def drawn():
    return [plan_with_ejection(1, index, index, draw_subject(1, index)) for index in range(500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("synthetic") / "cohort"
    write(target, "--ejection-in-reports")
    return target


def write(target: Path, *more: str) -> None:
    assert synthetic.main(["--records", "40", "--subjects", "15", "--seed", "7", "--dest", str(target), "--echo", *more]) == 0


def table(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def test_weak_ventricles_show(drawn) -> None:
    plans, ejection = [plan for plan, _ in drawn], np.array([value for _, value in drawn])
    assert ejection.min() >= LOWEST and ejection.max() <= HIGHEST and 0.1 < (ejection < 40).mean() < 0.5
    traits = {
        "qrs": [plan.beats.qrs_duration for plan in plans],
        "atrium": [plan.subject.p_strength for plan in plans],
        "t": [-plan.subject.t_strength for plan in plans],
        "voltage": [-plan.subject.strength for plan in plans],
    }
    for name, values in traits.items():
        assert spearmanr(ejection, values)[0] < -0.4, name
    block = np.array(["CLBBB" in plan.findings.causes for plan in plans])
    assert block[ejection < 40].mean() > 2 * block[ejection > 55].mean()


def test_an_ejection_fraction_is_of_its_subject_and_drawn_alike_each_time() -> None:
    subject = draw_subject(1, 3)
    values = [plan_with_ejection(1, index, 3, subject)[1] for index in range(30)]
    assert 1 < np.std(values) < 6 and abs(np.mean(values) - draw_ejection(1, 3)) < 3
    first, second = (plan_with_ejection(1, 5, 3, subject) for _ in range(2))
    assert first[1] == second[1] and first[0].beats.qrs_duration == second[0].beats.qrs_duration
    assert len({draw_ejection(1, index) for index in range(20)} | {draw_ejection(2, index) for index in range(20)}) == 40


def test_without_echocardiograms_nothing_is_drawn_differently() -> None:
    subject = draw_subject(1, 3)
    before = plan_record(1, 5, subject)
    plan_with_ejection(1, 5, 3, subject)
    again = plan_record(1, 5, draw_subject(1, 3))
    assert before.findings == again.findings and np.array_equal(before.rhythm.onset, again.rhythm.onset)


def test_frames_tell_the_ejection_fraction_and_the_study(drawn) -> None:
    prompts = draw_prompts(1)
    assert (
        prompts.emb.shape == (202, DIM)
        and prompts.text[30] == "the left ventricular ejection fraction is estimated at 30 percent"
    )
    means, first, second, guesses = [], [], [], []
    for index, (plan, ejection) in enumerate(drawn[:120]):
        videos = draw_videos(1, index, heart_of(plan, ejection))
        assert 1 <= len(videos) <= 4 and all(video.dtype == np.float32 and video.shape[1] == DIM for video in videos)
        mean = teacher_gaussian(np.concatenate(videos))[0]
        nearest = np.argsort(-(prompts.emb @ mean))[:40]
        guesses.append(np.median(prompts.value[nearest]))
        means.append(mean)
        if len(videos) > 1:
            first.append(teacher_gaussian(videos[0])[0])
            second.append(teacher_gaussian(videos[1])[0])
    assert spearmanr(guesses, [value for _, value in drawn[:120]])[0] > 0.95
    similarity = np.array(first) @ np.array(second).T
    assert (similarity.argmax(axis=1) == np.arange(len(first))).mean() > 0.5
    assert not np.allclose(draw_prompts(2).emb, prompts.emb)
    videos, ejection = draw_study(1, 0)
    assert ejection == drawn[0][1] and np.array_equal(videos[0], draw_videos(1, 0, heart_of(*drawn[0]))[0])


def test_tables_have_the_columns_of_the_real_ones_and_agree(folder: Path) -> None:
    echo = folder / "echo"
    tables = {name: table(echo / name) for name in COLUMNS}
    for name, columns in COLUMNS.items():
        assert tuple(tables[name][0]) == columns
    truth = {row["echo_study_id"]: float(row["lvef"]) for row in tables["truth.csv"]}
    assert len(tables["truth.csv"]) == 40 and {row["study_id"] for row in tables["echo-study-list.csv"]} <= truth.keys()
    subjects = {row["subject_id"] for row in table(folder / "record_list.csv")}
    assert all({row["subject_id"] for row in rows} <= subjects for name, rows in tables.items() if name != "truth.csv")
    listed = [(row["study_id"], Path(row["dicom_filepath"]).stem) for row in tables["echo-record-list.csv"]]
    assert listed == [(row["study_id"], row["video_id"]) for row in tables["embeddings.csv"]]
    for row in tables["embeddings.csv"]:
        frames = np.load(echo / row["path"])
        assert frames.dtype == np.float16 and np.allclose(np.linalg.norm(frames.astype(float), axis=1), 1, atol=1e-2)
    study_of = {row["measurement_id"]: row["study_id"] for row in tables["echo-study-list.csv"] if row["measurement_id"]}
    names = {row["measurement"] for row in tables[MEASUREMENTS]}
    assert {"lvef", "lvef_upper", "biplane_lvef", "septal_thickness"} <= names
    for row in tables[MEASUREMENTS]:
        if row["measurement"] == "biplane_lvef" and row["measurement_id"] in study_of:
            assert abs(float(row["result"]) - truth[study_of[row["measurement_id"]]]) < 12
    assert read_prompts(echo / "prompts.npz", DIM).value.max() == 100


def test_reports_state_the_ejection_fraction_only_where_asked(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "plain")
    reports = {}
    for name, root in (("said", folder), ("plain", tmp_path / "plain")):
        reports[name] = [" ".join(row.values()) for row in table(root / "machine_measurements.csv")]
    assert not any("ejection" in text.lower() for text in reports["plain"])
    for text, row in zip(reports["said"], table(folder / "echo" / "truth.csv")):
        lower = max(start for start in (0, 30, 40, 50) if start <= float(row["lvef"]))
        severity = {0: "severely", 30: "moderately", 40: "mildly", 50: "normal"}[lower]
        assert "ejection fraction" in text and severity in text.lower()
    assert ejection_statement(1, 2, 39.9) == ejection_statement(1, 2, 30.0)
    labels = [(root / "labels.csv").read_text() for root in (folder, tmp_path / "plain")]
    assert labels[0] == labels[1]


def test_same_seed_same_bytes_and_only_a_cohort_is_replaced(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "again"
    write(target, "--ejection-in-reports")
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(target) for path in target.rglob("*") if path.is_file())
    assert [name for name in names if (folder / name).read_bytes() != (target / name).read_bytes()] == []
    (target / "echo" / "mine.csv").write_text("keep")
    with pytest.raises(DataError, match="echo/mine.csv"):
        write(target, "--overwrite")
    (target / "echo" / "mine.csv").unlink()
    write(target, "--overwrite", "--echo-share", "0.1")
    assert len(table(target / "echo" / "echo-study-list.csv")) < len(table(folder / "echo" / "echo-study-list.csv"))


def test_reports_need_echocardiograms(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only with --echo"):
        synthetic.main(["--records", "4", "--dest", str(tmp_path / "x"), "--ejection-in-reports"])
