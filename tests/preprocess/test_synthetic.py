"""The synthetic cohort: which findings it has, what the reports say, and the files that hold them."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import wfdb
from hosts import REPOSITORY

from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names, load_prompts
from preprocess import synthetic
from preprocess.synthetic_ecg.layouts import mimic_iv_ecg_layout
from preprocess.synthetic_ecg.physiology.findings import CHRONIC, EPISODIC, INFARCTS, INJURIES, ISCHAEMIAS, SINUS, draw_findings
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.subjects import draw_cohort, draw_subject
from preprocess.synthetic_ecg.record import plan_record, render
from preprocess.synthetic_ecg.texts.classes import classes, descriptions, groups
from preprocess.synthetic_ecg.texts.reports import MAX_STATEMENTS, UNSAID, phrases, write_report

RECORDS = 900
RHYTHMS = SINUS | {"AFIB", "AFLT", "PACE", "VT", "SVTAC", "PSVT", "AT", "JR", "SVARR"}
# What a report must contain only when the label is there.
SAID = {
    "SBRAD": r"sinus bradycardia|sinusbradykardie",
    "STACH": r"sinus tachycardia|sinustachykardie",
    "AFIB": r"atrial fibrillation|vorhofflimmern",
    "AFLT": r"atrial flutter|vorhofflattern",
    "PACE": r"\bpac(ing|ed\b|emaker)|schrittmacher",
    "CLBBB": r"(?<!incomplete )left bundle branch block|(?<!incomplete )\blbbb|(?<!inkompletter )linksschenkelblock",
    "CRBBB": r"(?<!incomplete )right bundle branch block|(?<!incomplete )\brbbb|(?<!inkompletter )rechtsschenkelblock",
    "INVT": r"\bt wave inversion|inverted t|t waves are inverted|t negativ",
    "LVOLT": r"\blow (qrs |limb lead )?voltage|niederspannung",
    "1AVB": r"(1st|first) degree a-?v block|av-block (i|1)\.",
    "3AVB": r"(3rd|third) degree|complete heart block|iii\. grades",
    "WPW": r"wolff|preexcitation",
    "ISC": r"ischaemia is likely|possible myocardial ischaemia",
    "IMI": r"(?<!antero)(?<!postero)\binferior (myocardial )?infarct|inferiorer infarkt",
}
SAYERS = {
    "ISC": ("ISC",),
    "LVOLT": ("LVOLT",),
    "INVT": ("INVT", "ISC", "STRAIN"),
    "3AVB": ("3AVB",),
    "PACE": ("PACE",),
    "IMI": ("IMI", "ILMI", "IPMI", "IPLMI"),
}


@pytest.fixture(scope="module")
def plans():
    cohort = draw_cohort(1, RECORDS, 400)
    subjects = {int(s): draw_subject(1, int(s)) for s in np.unique(cohort.subject)}
    return [plan_record(1, i, subjects[int(s)]) for i, s in enumerate(cohort.subject)]


@pytest.fixture(scope="module")
def balanced():
    return [plan_record(2, i, draw_subject(2, i), balanced=True) for i in range(1000)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("synthetic") / "cohort"
    assert synthetic.main(["--records", "40", "--subjects", "15", "--seed", "7", "--dest", str(target)]) == 0
    return target


def table(path):
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_what_is_drawn_does_not_depend_on_the_order_of_sets():
    """Python shuffles sets of texts anew in every process, by PYTHONHASHSEED."""
    script = (
        "from preprocess.synthetic_ecg.physiology.subjects import draw_subject\n"
        "from preprocess.synthetic_ecg.record import plan_record\n"
        "plans = [plan_record(1, i, draw_subject(1, i), 1.0, i % 2 == 0) for i in range(300)]\n"
        "print([(sorted(plan.findings.causes), plan.findings.rate) for plan in plans])"
    )
    drawn = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in "12"
    ]
    assert drawn[0] == drawn[1]


def test_rhythms_exclude_each_other(plans, balanced):
    for plan in plans + balanced:
        labels = plan.findings.labels
        assert labels & RHYTHMS and labels <= set(classes())
        assert len(labels & {"SR", "SBRAD", "STACH"}) <= 1
        if labels & {"SR", "STACH"}:
            assert not labels & {"AFLT", "VT", "SVTAC", "AT", "JR", "PACE", "SARRH"}
        if "NORM" in labels:
            assert labels & SINUS and not labels & {"INVT", "QWAVE", "LVH", "CLBBB", "CRBBB", "1AVB", "AFIB", "STD_", "LVOLT"}


def test_prevalence_is_long_tailed_and_can_be_balanced(plans, balanced):
    counts = Counter(code for plan in plans for code in plan.findings.labels)
    assert 0.30 < counts["NORM"] / RECORDS < 0.60
    assert counts["SR"] > 10 * counts["AFLT"]
    assert 0.04 < counts["AFIB"] / RECORDS < 0.14
    causes = Counter(code for plan in balanced for code in plan.findings.causes)
    assert causes.keys() >= CHRONIC.keys() | EPISODIC.keys()


def test_each_cause_leads_as_often_where_prevalence_is_balanced():
    """By chance 38 of 4,000, the standard deviation 6."""
    counts = Counter()
    for i in range(4000):
        counts.update(draw_findings(np.random.default_rng([1, i]), frozenset(), 1.0, 70.0, balanced=True).causes)
    assert counts.keys() == CHRONIC.keys() | EPISODIC.keys() and min(counts.values()) > 18
    assert max(counts.values()) < 0.06 * 4000


def test_every_statement_of_ptb_xl_occurs(balanced):
    """But those that name nothing else than others do."""
    seen = {code for plan in balanced for code in plan.findings.labels}
    assert set(class_names("ptb-xl-all")) <= seen
    assert set(classes()) - seen <= {"VEB", "JEB", "APACE", "2AVB1", "2AVB2"}


def test_reports_name_no_finding_that_is_not_labelled(plans, balanced):
    for plan in plans[:600] + balanced[:600]:
        labels = plan.findings.labels
        text = ". ".join(text for text in write_report(plan) if not text.lower().startswith("no ")).lower()
        for code, pattern in SAID.items():
            if re.search(pattern, text) and not (code == "PACE" and "pacing" not in text and "pace" not in text):
                sayers = SAYERS.get(code, (code,))
                assert any(label.startswith(sayers) for label in labels), (code, text, sorted(labels))
        if "NORM" not in labels:
            plain = text.replace("abnormal", "").replace("otherwise", "")
            assert not re.search(r"\bnormal (ecg|ekg|tracing)|normales ekg", plain), text


# Labels that say another one, too.
IMPLYING = {"STRAIN", "VB", "2AVB1", "2AVB2", "VPACE", "JR", "AT", "PSVT"}


def phrase_key(code, stage=""):
    if code in INFARCTS:
        return {"acute": "MI_acute", "recent": "MI_recent"}.get(stage, "MI")
    return "INJ" if code in INJURIES else "ISC" if code in ISCHAEMIAS and code != "ISC_" else code


def wordings(code, stage):
    """What a statement on a label may be, whatever the style."""
    forms = (text for style in phrases()[phrase_key(code, stage)].values() for text in style)
    filled = (re.sub(r"\\{\w+\\}", ".+", re.escape(text)) for text in forms)
    return re.compile("|".join([*filled, *map(re.escape, descriptions().get(code, ()))]), re.IGNORECASE)


def test_reports_name_the_rhythm_and_every_cause(plans, balanced):
    """But what may go unsaid, and what another label says."""
    named = Counter()
    for plan in plans[:200] + balanced[:500]:
        said, findings = write_report(plan), plan.findings
        if findings.labels & IMPLYING:
            continue
        for code in findings.labels & (findings.causes | {findings.rhythm}) - UNSAID.keys():
            wording = wordings(code, findings.stages.get(code, ""))
            spellings = [*said, *(text.replace("EKG", "ECG") for text in said)]
            assert any(map(wording.fullmatch, spellings)), (code, said)
            named[code] += 1
    assert len(named) > 50 and sum(named.values()) > 800


def test_every_label_has_phrases_in_every_style():
    for code in classes():
        assert all(phrases()[phrase_key(code)][style] for style in ("machine", "clinician", "german")), code


def test_reports_differ(plans):
    texts = Counter(" ".join(write_report(plan)).lower() for plan in plans)
    assert len(texts) > 0.6 * RECORDS and texts.most_common(1)[0][1] > 5
    long = max(plans, key=lambda plan: len(plan.findings.labels))
    assert 4 < len(write_report(long)) <= MAX_STATEMENTS


def test_numbers_in_reports_are_those_measured(plans):
    found = 0
    for plan in plans[:500]:
        for text in write_report(plan):
            if match := re.search(r"ventricular rate (\d+) bpm", text.lower()):
                found += 1
                assert int(match[1]) == plan.measured.rate
            if match := re.search(r"pr interval (\d+) ms", text.lower()):
                assert int(match[1]) == plan.measured.pr
    assert found > 20


def test_subjects_are_long_tailed():
    counts = np.bincount(draw_cohort(3, 2000, 800).subject)
    assert len(counts) == 800 and counts.min() == 1 and counts.sum() == 2000
    assert np.median(counts) <= 2 and counts.max() >= 8
    with pytest.raises(ValueError, match="share"):
        draw_cohort(3, 5, 6)


def test_lasting_findings_stay_with_the_subject(plans):
    prone = [plan.findings.causes for plan in plans if "CRBBB" in plan.subject.chronic]
    assert (
        len(prone) > 20
        and np.mean(["CRBBB" in causes for causes in prone if not causes & {"PACE", "VT", "CLBBB", "WPW"}]) > 0.8
    )


# Files


def test_tables_have_the_columns_and_keys_of_the_real_ones(folder):
    records, machine, labels = (table(folder / name) for name in ("record_list.csv", "machine_measurements.csv", "labels.csv"))
    assert list(records[0]) == ["subject_id", "study_id", "file_name", "ecg_time", "path"]
    assert list(machine[0])[:5] == ["subject_id", "study_id", "cart_id", "ecg_time", "report_0"]
    assert list(machine[0])[21:] == [
        *("report_17", "bandwidth", "filtering", "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end"),
        *("p_axis", "qrs_axis", "t_axis"),
    ]
    assert list(labels[0]) == ["record_id", *classes(), *groups()]
    for row in labels:
        for name, findings in groups().items():
            assert row[name] == str(int(any(row[one] == "1" for one in findings)))
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


def test_groups_are_those_of_ptb_xl(real_data):
    statements = table(real_data / "ptb-xl" / "scp_statements.csv")
    for name, findings in groups().items():
        kind, own = name.split("_", 1)
        column = {"super": "diagnostic_class", "sub": "diagnostic_subclass"}[kind]
        assert set(findings) == {row[""] for row in statements if row[column].strip("_") == own}, name


def test_prompts_cover_the_classes(folder):
    prompts = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
    assert list(prompts) == [*classes(), *groups()] and prompts["LVH"][0] == load_prompts("ptb-xl-all", "name")["LVH"][0]
    for texts in prompts.values():
        assert len(texts) >= 2
        for text in texts:
            assert re.sub(r"[^a-z0-9. ]", "", text) == text


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
        irregular = any(label[code] == "1" for code in ("PVC", "PAC", "SARRH", "2AVB", "3AVB", "PAUSE", "BIGU", "TRIGU"))
        assert label["SBRAD"] == "0" or irregular or rate < 62
        assert label["STACH"] == "0" or irregular or rate > 98
        assert (row["p_onset"] == str(mimic_iv_ecg_layout.NOT_MEASURABLE)) >= (label["AFIB"] == "1")
        if label["SR"] == "1" and row["p_onset"] != str(mimic_iv_ecg_layout.NOT_MEASURABLE):
            pr = int(row["qrs_onset"]) - int(row["p_onset"])
            assert (pr > 200) == (label["LPR"] == "1")
        wide = int(row["qrs_end"]) - int(row["qrs_onset"]) >= 120
        narrow = not any(label[code] == "1" for code in ("CLBBB", "CRBBB", "PACE", "VT", "WPW", "IVCD", "3AVB", "BIGU"))
        assert not (wide and narrow)
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

    monkeypatch.setattr(synthetic.mimic_iv_ecg_layout, "write_record", full)
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
