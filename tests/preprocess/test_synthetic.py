"""The synthetic cohort: which findings it has, what the reports say, and the files that hold them."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter

import numpy as np
import pytest
import wfdb

from cmelt_plugin.errors import DataError
from preprocess import synthetic
from preprocess.synthetic_ecg import files
from preprocess.synthetic_ecg.findings import CLASSES, EXCLUDED_BY, SINUS
from preprocess.synthetic_ecg.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.record import plan_record, render
from preprocess.synthetic_ecg.reports import phrases, write_report
from preprocess.synthetic_ecg.subjects import draw_cohort, draw_subject

RECORDS = 4000
# What a report must contain exactly when the class is present.
SAID = {
    "SR": r"sinus rhythm",
    "BRADY": r"sinus bradycardia",
    "TACHY": r"sinus tachycardia",
    "AFIB": r"atrial fibrillation",
    "AFLT": r"atrial flutter",
    "PACED": r"\bpac(ing|ed|emaker)",
    "LBBB": r"left bundle|\blbbb",
    "RBBB": r"right bundle|\brbbb",
    "LVH": r"left ventricular hypertrophy|\blvh",
    "STE": r"\bst (segment )?elevation",
    "STD": r"\bst depression",
    "TINV": r"\bt (wave )?inversion|inverted t",
    "LOWV": r"\blow (qrs |limb lead )?voltage",
    "AVB1": r"(1st|first) degree a-?v block",
    "PVC": r"\bpvc|\b(ventricular premature|premature ventricular)|\bventricular ectopy",
    "PAC": r"\bpac\(s\)|\b(atrial premature|premature atrial)|supraventricular ectopy",
}


@pytest.fixture(scope="module")
def plans():
    cohort = draw_cohort(1, RECORDS, 1600)
    subjects = {int(s): draw_subject(1, int(s)) for s in np.unique(cohort.subject)}
    return [plan_record(1, i, subjects[int(s)]) for i, s in enumerate(cohort.subject)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("synthetic") / "cohort"
    assert synthetic.main(["--records", "40", "--subjects", "15", "--seed", "7", "--dest", str(target)]) == 0
    return target


def table(path):
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_exactly_one_rhythm_and_no_excluded_pair(plans):
    for plan in plans:
        present = plan.findings.labels | plan.findings.minor
        assert len(present & (SINUS | {"AFIB", "AFLT", "PACED"})) == 1
        for code in present & EXCLUDED_BY.keys():
            allowed = {"LVH", "STD", "TINV"} if plan.findings.strain else set()
            assert not (present & EXCLUDED_BY[code]) - allowed


def test_prevalences(plans):
    counts = Counter(code for plan in plans for code in plan.findings.labels)
    assert counts.keys() == CLASSES.keys()
    assert 0.55 < counts["SR"] / RECORDS < 0.72
    assert min(counts.values()) >= 0.012 * RECORDS
    assert 0.40 < sum(plan.findings.labels == {"SR"} for plan in plans) / RECORDS < 0.55


def test_reports_name_exactly_the_labelled_findings(plans):
    for plan in plans:
        text = ". ".join(write_report(plan)).lower()
        said = {code for code, pattern in SAID.items() if re.search(pattern, text)}
        assert said == plan.findings.labels, text
        abnormal = bool(plan.findings.labels - SINUS)
        if abnormal:
            assert not re.search(r"normal (ecg|ekg|tracing)", text.replace("abnormal", "")), text
        else:
            assert "abnormal ecg" not in text or plan.findings.minor & {"inferior_q", "poor_r"}, text


def test_every_phrase_of_a_class_contains_what_its_label_promises():
    for key, wordings in phrases().items():
        code = key.split("_")[0]
        if code in SAID and not key.endswith("_more"):
            for wording in wordings:
                assert re.search(SAID[code], wording.lower()), wording


def test_report_texts_are_long_tailed(plans):
    texts = Counter(re.sub(r"[^\w\s]", "", " ".join(write_report(plan)).lower().replace("ekg", "ecg")) for plan in plans)
    top, count = texts.most_common(1)[0]
    assert top == "sinus rhythm normal ecg"
    assert 0.10 < count / RECORDS < 0.15
    assert 0.18 < len(texts) / RECORDS < 0.28


def test_subjects_are_long_tailed():
    counts = np.bincount(draw_cohort(3, 2000, 800).subject)
    assert len(counts) == 800 and counts.min() == 1 and counts.sum() == 2000
    assert np.median(counts) <= 2 and counts.max() >= 8
    with pytest.raises(ValueError, match="share"):
        draw_cohort(3, 5, 6)


def test_lasting_findings_stay_with_the_subject(plans):
    prone = [plan.findings.labels for plan in plans if "LBBB" in plan.subject.chronic]
    assert np.mean(["LBBB" in labels for labels in prone if "PACED" not in labels]) > 0.8


# Files


def test_tables_have_the_columns_and_keys_of_the_real_ones(folder):
    records, machine, labels = (table(folder / name) for name in ("record_list.csv", "machine_measurements.csv", "labels.csv"))
    assert list(records[0]) == ["subject_id", "study_id", "file_name", "ecg_time", "path"]
    assert list(machine[0])[:5] == ["subject_id", "study_id", "cart_id", "ecg_time", "report_0"]
    assert list(machine[0])[21:] == [
        *("report_17", "bandwidth", "filtering", "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end"),
        *("p_axis", "qrs_axis", "t_axis"),
    ]
    assert list(labels[0]) == ["record_id", *CLASSES]
    assert len(records) == len(machine) == len(labels) == 40
    assert len({row["subject_id"] for row in records}) == 15
    assert [row["study_id"] for row in records] == [row["study_id"] for row in machine]
    assert len({row["study_id"] for row in records}) == 40
    for row, label in zip(records, labels):
        subject, study = row["subject_id"], row["study_id"]
        assert label["record_id"] == study
        assert row["path"] == f"files/p{subject[:4]}/p{subject}/s{study}/{study}"
        assert (folder / (row["path"] + ".hea")).is_file()
    assert "synthetic" in (folder / "README.txt").read_text(encoding="utf-8").lower()


def test_prompts_cover_the_classes(folder):
    prompts = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
    assert list(prompts) == list(CLASSES)
    for code, texts in prompts.items():
        assert len(texts) >= 2
        for text in texts:
            assert text == re.sub(r"[^a-z0-9 ]", "", text)
            assert re.search(SAID[code], text), text


def test_wfdb_reads_back_what_was_generated(folder):
    cohort = draw_cohort(7, 40, 15)
    for i, row in list(enumerate(table(folder / "record_list.csv")))[::8]:
        plan = plan_record(7, i, draw_subject(7, int(cohort.subject[i])))
        record = wfdb.rdrecord(str(folder / row["path"]), physical=False)
        assert record.sig_name == list(MIMIC_LEADS) and record.fs == 500 and record.sig_len == 5000
        assert record.adc_gain == [200.0] * 12 and record.units == ["mV"] * 12 and record.baseline == [0] * 12
        assert record.base_datetime.strftime("%Y-%m-%d %H:%M:%S") == row["ecg_time"]
        assert [int(c) for c in record.checksum] == [int(c) for c in record.calc_checksum()]
        assert record.init_value == record.d_signal[0].tolist()
        np.testing.assert_allclose(record.d_signal.T / 200, render(plan), atol=0.0026)
        one, two, three = record.d_signal[:, :3].T
        assert np.abs(two - one - three).max() <= 1


def test_measurements_agree_with_labels(folder):
    for row, label in zip(table(folder / "machine_measurements.csv"), table(folder / "labels.csv")):
        rate = 60_000 / int(row["rr_interval"])
        assert label["BRADY"] == "0" or rate < 60
        assert label["TACHY"] == "0" or rate > 100
        assert (row["p_onset"] == str(files.NOT_MEASURABLE)) >= (label["AFIB"] == "1")
        if label["SR"] == "1":
            pr = int(row["qrs_onset"]) - int(row["p_onset"])
            assert (pr > 200) == (label["AVB1"] == "1")
        wide = int(row["qrs_end"]) - int(row["qrs_onset"]) >= 120
        assert wide == any(label[code] == "1" for code in ("LBBB", "RBBB", "PACED"))
        assert row["report_0"]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_other_seed_other_bytes(folder, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    arguments = ["--records", "40", "--subjects", "15"]
    synthetic.main([*arguments, "--seed", "7", "--dest", str(again)])
    synthetic.main([*arguments, "--seed", "8", "--dest", str(other)])
    assert contents(again) == contents(folder)
    assert (other / "record_list.csv").read_bytes() != (folder / "record_list.csv").read_bytes()
    first = [contents(f)[table(f / "record_list.csv")[0]["path"] + ".dat"] for f in (folder, other)]
    assert first[0] != first[1]


def test_existing_folders_are_respected(tmp_path, capsys):
    arguments = ["--records", "2", "--dest", str(tmp_path / "cohort")]
    (tmp_path / "cohort").mkdir()
    synthetic.main(arguments)
    assert "2 records of 1 subjects" in capsys.readouterr().out
    before = contents(tmp_path / "cohort")
    with pytest.raises(DataError, match="--overwrite"):
        synthetic.main(arguments)
    assert contents(tmp_path / "cohort") == before
    synthetic.main([*arguments, "--seed", "9", "--overwrite"])
    assert contents(tmp_path / "cohort") != before
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]

    for name in ("notes.txt", "files/figure.png", "manifest/train.tsv"):
        (tmp_path / "cohort" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "cohort" / name).write_text("mine")
        before = contents(tmp_path / "cohort")
        with pytest.raises(DataError, match="no part of a synthetic cohort"):
            synthetic.main([*arguments, "--overwrite"])
        assert contents(tmp_path / "cohort") == before
        (tmp_path / "cohort" / name).unlink()
    (tmp_path / "cohort" / "manifest").rmdir()

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not a synthetic cohort"):
        synthetic.main(["--records", "2", "--dest", str(tmp_path / "mine"), "--overwrite"])
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic.files, "write_record", full)
    with pytest.raises(OSError, match="No space"):
        synthetic.main(["--records", "2", "--dest", str(tmp_path / "cohort")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [["--records", "10000001"], ["--subjects", "5"], ["--rate", "10"], ["--noise", "21"]],
    ids=lambda wrong: wrong[0],
)
def test_wrong_arguments_are_named(tmp_path, wrong):
    with pytest.raises(DataError, match=wrong[0]):
        synthetic.main(["--records", "2", "--dest", str(tmp_path / "cohort"), *wrong])
