"""The PTB-XL command, on rows made here and on real recordings where they are at hand."""

import ast
import csv
import re

import numpy as np
import pytest
import wfdb

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.prompt_copies import copied_kind
from cmelt_plugin.data.text.reports import normalise_report, read_reports
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess import ptb_xl
from preprocess.data_sets.ptb_xl_labels import TASKS, read_statements
from preprocess.ptb_xl import read_records
from preprocess.synthetic_ecg.layouts import ptb_xl_layout
from preprocess.synthetic_ecg.layouts.ptb_xl_layout import write_ptb_xl_layout
from tests.preprocess.mimic_layout import make_ecg, write_record

COLUMNS = ["ecg_id", "patient_id", "age", "sex", "recording_date", "report", "strat_fold", "filename_lr", "filename_hr"]
ROW = {
    "patient_id": "15709.0",
    "age": "56.0",
    "sex": "1",
    "recording_date": "1984-11-09 09:17:34",
    "report": "sinusrhythmus normales ekg",
    "strat_fold": "1",
}


def write_layout(root, rows):
    with open(root / "ptbxl_database.csv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        for number, row in enumerate(rows, start=1):
            names = {"filename_lr": f"records100/{number:05d}_lr", "filename_hr": f"records500/{number:05d}_hr"}
            writer.writerow({"ecg_id": number, **ROW, **names, **row})


def test_columns_and_folds(tmp_path):
    rows = [
        {"strat_fold": "8", "age": "300.0"},
        {"strat_fold": "9", "sex": "0", "patient_id": "7"},
        {"strat_fold": "10", "age": "", "sex": ""},
    ]
    write_layout(tmp_path, rows)
    table = read_records(tmp_path)
    assert table["split"].to_pylist() == ["train", "valid", "test"]
    assert table["sex"].to_pylist() == ["F", "M", ""]
    assert table["age"].to_pylist()[:2] == [90.0, 56.0] and np.isnan(table["age"].to_numpy()[2])
    assert table["subject_id"].to_pylist() == ["15709", "7", "15709"]
    assert table["time"][0].as_py() == "1984-11-09T09:17:34"
    assert table["report"][0].as_py() == "sinusrhythmus normales ecg"
    assert table["path"][0].as_py() == "records500/00001_hr"
    assert read_records(tmp_path, rate=100)["path"][0].as_py() == "records100/00001_lr"


@pytest.mark.parametrize("fold", ["", "11", "x"])
def test_unknown_fold(tmp_path, fold):
    write_layout(tmp_path, [{}, {"strat_fold": fold}])
    with pytest.raises(DataError, match=f"ecg_id 2 has strat_fold '{fold}'"):
        read_records(tmp_path)


def test_missing_column_and_file(tmp_path):
    with pytest.raises(DataError, match="ptbxl_database.csv: no such file; expected the layout of PTB-XL"):
        read_records(tmp_path)
    write_layout(tmp_path, [{}])
    path = tmp_path / "ptbxl_database.csv"
    path.write_text(path.read_text().replace("strat_fold", "fold"))
    with pytest.raises(DataError, match="no column strat_fold"):
        read_records(tmp_path)


def test_low_rate_is_resampled_and_said_so(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    write_layout(root, [{}])
    write_record(root / "records100" / "00001_lr", make_ecg(0, rate=100), rate=100, leads=LEADS)
    arguments = ["--pretrain", "--root", str(root), "--dest", str(tmp_path / "m"), "--rate", "100", "--jobs", "1"]
    assert ptb_xl.main(arguments) == 0
    manifest = Manifest.open(tmp_path / "m", "train")
    assert manifest.n_samples.tolist() == [5000]
    assert manifest.meta(["source_rate"])["source_rate"].to_pylist() == [100]
    assert "resampled from 100 Hz to 500 Hz" in read_json(tmp_path / "m" / "manifest.json")["notes"]


@pytest.mark.parametrize(
    "more, message",
    [
        ([], "one of the arguments --pretrain --task is required"),
        (["--pretrain", "--task", "super"], "not allowed with argument"),
        (["--pretrain", "--store", "s"], "--store goes with --task"),
        (["--pretrain", "--splits", "s"], "--splits goes with --task"),
        (["--pretrain", "--prompts", "s"], "--prompts goes with --task"),
        (["--task", "super", "--store", "s", "--rate", "100"], "--rate chooses the files to pack"),
    ],
)
def test_modes_exclude_each_other(tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        ptb_xl.main(["--root", str(tmp_path), "--dest", str(tmp_path), *more])
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A synthetic PTB-XL of 40 records."""
    root = tmp_path_factory.mktemp("twin") / "ptb-xl"
    write_ptb_xl_layout(root, 40, seed=3)
    return root


def rows_of(root):
    with open(root / "ptbxl_database.csv", encoding="utf-8", newline="") as handle:
        return {row["ecg_id"]: row for row in csv.DictReader(handle)}


def run(task, root, dest, *more):
    return ptb_xl.main(["--task", task, "--root", str(root), "--dest", str(dest), "--jobs", "1", *more])


def labels_by_id(directory):
    """record id → (split, names of its classes)"""
    found = {}
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        values, names = manifest.labels()
        for record, row in zip(manifest.meta(["record_id"])["record_id"].to_pylist(), values):
            found[record] = split, {name for name, value in zip(names, row) if value == 1}
    return found


@pytest.mark.parametrize("task", TASKS)
def test_each_task_end_to_end(twin, tmp_path, capsys, task):
    assert run(task, twin, tmp_path / "m") == 0
    rows, found = rows_of(twin), labels_by_id(tmp_path / "m")
    statements = read_statements(twin / "scp_statements.csv")[task]
    expected = {}
    for ecg_id, row in rows.items():
        classes = {statements[code] for code in ast.literal_eval(row["scp_codes"]) if code in statements}
        fold = int(row["strat_fold"])
        if classes:
            expected[ecg_id] = "train" if fold <= 8 else {9: "valid", 10: "test"}[fold], classes
    assert found == expected and 0 < len(found)
    labels = read_json(tmp_path / "m" / "labels.json")
    assert (labels["label_set"], labels["names"]) == (f"ptb-xl-{task}", class_names(f"ptb-xl-{task}"))
    assert copied_kind(tmp_path / "m") == "description"
    assert list(read_json(tmp_path / "m" / "prompts.json")) == labels["names"]
    summary = read_json(tmp_path / "m" / "manifest.json")
    assert summary["counts"] == {"in": len(found), "out": len(found), "rejected": {}}
    assert sum(summary["splits"].values()) == len(found)
    out = capsys.readouterr().out
    assert f"{40 - len(found)} of 40 records have no label of ptb-xl-{task}" in out
    for name in labels["names"]:
        positives = sum(name in classes for split, classes in found.values() if split == "test")
        assert f"  {name}: {positives} present" in out


def test_reports_stay_with_labelled_records(twin, tmp_path):
    run("all", twin, tmp_path / "m")
    reports = read_reports(tmp_path / "m")
    texts = reports.texts.to_pylist()
    assert 2 < len(reports.statements.flatten()) / len(texts) < 8  # the twin ends each in a full stop
    rows, without = rows_of(twin), 0
    for split in available_splits(tmp_path / "m"):
        meta = Manifest.open(tmp_path / "m", split).meta(["record_id", "report_id"]).to_pylist()
        for record in meta:
            text = normalise_report(rows[record["record_id"]]["report"])
            assert record["report_id"] == (texts.index(text) if text else -1)
            without += not text
    assert without == sum(not row["report"] for row in rows.values())


def test_low_rate_files_of_a_task(twin, tmp_path):
    run("super", twin, tmp_path / "high")
    run("super", twin, tmp_path / "low", "--rate", "100")
    assert labels_by_id(tmp_path / "high") == labels_by_id(tmp_path / "low")
    assert set(Manifest.open(tmp_path / "low", "test").meta(["source_rate"])["source_rate"].to_pylist()) == {100.0}
    assert "resampled from 100 Hz to 500 Hz" in read_json(tmp_path / "low" / "manifest.json")["notes"]


def test_folds_divide_as_asked(twin, tmp_path):
    run("super", twin, tmp_path / "all")
    run("super", twin, tmp_path / "m", "--store", str(tmp_path / "all"), "--folds", "1,3-8", "none", "9-10")
    fold = {record: row["strat_fold"] for record, row in rows_of(twin).items()}
    labels = labels_by_id(tmp_path / "all")
    wanted = {r: ("test" if fold[r] in ("9", "10") else "train", names) for r, (_, names) in labels.items() if fold[r] != "2"}
    assert "2" in fold.values() and labels_by_id(tmp_path / "m") == wanted
    assert "strat_fold 1 train, 3 train" in read_json(tmp_path / "m" / "manifest.json")["notes"][0]
    with pytest.raises(DataError, match="--folds: name each fold once"):
        run("super", twin, tmp_path / "m", "--folds", "1-8", "8", "9-10")
    for wrong in ("0-8", "8-1", "x", "1-"):
        with pytest.raises(SystemExit):
            run("super", twin, tmp_path / "m", "--folds", wrong, "none", "9-10")


def test_tasks_share_a_store(twin, tmp_path):
    run("all", twin, tmp_path / "all")
    for task in ("sub", "rhythm"):
        run(task, twin, tmp_path / task)
        run(task, twin, tmp_path / f"{task}-shared", "--store", str(tmp_path / "all"))
        assert labels_by_id(tmp_path / task) == labels_by_id(tmp_path / f"{task}-shared")
        assert not list((tmp_path / f"{task}-shared").glob("records-*"))


def test_pre_training_manifest_as_store(twin, tmp_path, capsys):
    """It lacks the records without a report; they are named with that reason."""
    ptb_xl.main(["--pretrain", "--root", str(twin), "--dest", str(tmp_path / "p"), "--jobs", "1"])
    lacking = {record for record, row in rows_of(twin).items() if not row["report"]}
    assert lacking
    run("all", twin, tmp_path / "m", "--store", str(tmp_path / "p"))
    assert f"lacks {len(lacking)} of 40 records" in capsys.readouterr().err
    lines = (tmp_path / "m" / "rejected.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert {line.split("\t")[0] for line in lines} == lacking
    assert all(line.endswith("report: no report text") for line in lines)


def test_another_task_does_not_take_over_a_directory(twin, tmp_path):
    run("super", twin, tmp_path / "m")
    with pytest.raises(DataError, match="holds the labels of ptb-xl-super with 5 classes; give --overwrite"):
        run("sub", twin, tmp_path / "m")
    assert run("sub", twin, tmp_path / "m", "--overwrite") == 0
    assert len(Manifest.open(tmp_path / "m", "train").labels()[1]) == 23


def test_errors_in_the_data_set(twin, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    text = (twin / "ptbxl_database.csv").read_text(encoding="utf-8")
    (root / "ptbxl_database.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="scp_statements.csv: no such file"):
        run("super", root, tmp_path / "m")
    (root / "scp_statements.csv").write_bytes((twin / "scp_statements.csv").read_bytes())
    (root / "ptbxl_database.csv").write_text(text.replace("scp_codes", "codes"), encoding="utf-8")
    with pytest.raises(DataError, match="no column scp_codes"):
        run("super", root, tmp_path / "m")
    (root / "ptbxl_database.csv").write_text(re.sub(r"\"?\{.*?\}\"?", "{'SR': 0.0}", text), encoding="utf-8")
    with pytest.raises(DataError, match="40 of 40 records have no label of ptb-xl-super"):
        run("super", root, tmp_path / "m")


def test_an_older_version_is_said_to_be_one(twin, monkeypatch, capsys):
    monkeypatch.setattr(ptb_xl, "OLD_VERSIONS", {40: "1.0.1 or older"})
    ptb_xl.read_database(twin)
    assert "40 records, as in version 1.0.1 or older; published counts are those of 1.0.3" in capsys.readouterr().err


def write_split_files(folder, root, task, statements, order, leave_out=()):
    """The published files as a task's rule gives them; ``order`` turns the class names of train into those written."""
    name = ptb_xl.PUBLISHED_NAME[task]
    names = class_names(f"ptb-xl-{task}")
    folder.mkdir(parents=True)
    parts = {"train": [], "val": [], "test": []}
    for ecg_id, row in rows_of(root).items():
        classes = {statements[task][code] for code in ast.literal_eval(row["scp_codes"]) if code in statements[task]}
        part = {"9": "val", "10": "test"}.get(row["strat_fold"], "train")
        if classes and ecg_id not in leave_out:
            columns = order(names) if part == "train" else names
            parts[part].append({"ecg_id": ecg_id, **{column: int(column in classes) for column in columns}})
    for part, lines in parts.items():
        with open(folder / f"ptbxl_{name}_{part}.csv", "w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, lines[0].keys())
            writer.writeheader()
            writer.writerows(lines)


def test_published_sub_files_are_read_by_name(twin, tmp_path, capsys):
    """D-E1: their columns stand in another order in train than in val and test."""
    statements = read_statements(twin / "scp_statements.csv")
    folder = tmp_path / "splits" / "ptbxl" / "sub_class"
    write_split_files(folder, twin, "sub", statements, order=lambda names: names[::-1])
    headers = [(folder / f"ptbxl_sub_class_{part}.csv").read_text().split("\n")[0] for part in ("train", "val")]
    assert headers[0] != headers[1]
    for number, place in enumerate((tmp_path / "splits", tmp_path / "splits" / "ptbxl", folder)):
        run("sub", twin, tmp_path / f"m{number}", "--splits", str(place))
        records = len(labels_by_id(tmp_path / f"m{number}"))
        assert f", {records} records: 0 of {records * 23} cells differ" in capsys.readouterr().out
    run("sub", twin, tmp_path / "computed")
    assert labels_by_id(tmp_path / "m0") == labels_by_id(tmp_path / "computed")
    assert read_json(tmp_path / "m0" / "labels.json")["names"] == class_names("ptb-xl-sub")


def test_split_files_decide(twin, tmp_path, capsys):
    """Records, splits and labels are those of the files, and what differs is counted."""
    statements = read_statements(twin / "scp_statements.csv")
    folder = tmp_path / "splits"
    run("super", twin, tmp_path / "computed")
    computed = labels_by_id(tmp_path / "computed")
    moved, dropped = sorted(record for record, (split, _) in computed.items() if split == "train")[:2]
    write_split_files(folder, twin, "super", statements, order=list, leave_out={dropped, moved})
    with open(folder / "ptbxl_super_class_test.csv", "a", encoding="utf-8") as handle:
        flipped = {name: int(name not in computed[moved][1]) for name in class_names("ptb-xl-super")}
        handle.write(",".join([moved, *map(str, flipped.values())]) + "\n")
        handle.write("99999,1,0,0,0,0\n")
    run("super", twin, tmp_path / "m", "--splits", str(folder))
    captured = capsys.readouterr()
    assert f"5 of {5 * (len(computed) - 1)} cells differ" in captured.out
    assert "1 records of" in captured.err and "are not in" in captured.err
    assert "1 records are in another split than their strat_fold says" in captured.err
    expected = {**computed, moved: ("test", {name for name, value in flipped.items() if value})}
    del expected[dropped]
    assert labels_by_id(tmp_path / "m") == expected
    assert read_json(tmp_path / "m" / "manifest.json")["notes"][0] == "splits and labels: published split files"


def test_split_files_that_cannot_be_used(twin, tmp_path):
    statements = read_statements(twin / "scp_statements.csv")
    with pytest.raises(DataError, match="ptbxl_form_train.csv: no such file"):
        run("form", twin, tmp_path / "m", "--splits", str(tmp_path))
    with pytest.raises(DataError, match="no split files are published for task all"):
        run("all", twin, tmp_path / "m", "--splits", str(tmp_path))
    folder = tmp_path / "splits"
    write_split_files(folder, twin, "super", statements, order=list)
    path = folder / "ptbxl_super_class_val.csv"
    path.write_text(path.read_text().replace("STTC", "STT"), encoding="utf-8")
    with pytest.raises(DataError, match="ptbxl_super_class_val.csv: no column STTC"):
        run("super", twin, tmp_path / "m", "--splits", str(folder))


def test_split_files_of_another_data_set(twin, tmp_path):
    folder = tmp_path / "splits"
    folder.mkdir()
    for part, ecg_id in (("train", 70001), ("val", 70002), ("test", 70003)):
        text = f"ecg_id,HYP,NORM,MI,CD,STTC\n{ecg_id},0,1,0,0,0\n"
        (folder / f"ptbxl_super_class_{part}.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="none of its 3 records is in"):
        run("super", twin, tmp_path / "m", "--splits", str(folder))


def test_the_twin_is_reproducible_and_keeps_what_is_there(twin, tmp_path):
    write_ptb_xl_layout(tmp_path / "again", 40, seed=3)
    files = sorted(path.relative_to(twin) for path in twin.rglob("*") if path.is_file())
    assert len(files) == 3 + 4 * 40
    assert all((twin / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)
    with pytest.raises(DataError, match="not an empty folder"):
        write_ptb_xl_layout(tmp_path / "again", 40, seed=3)
    assert ptb_xl_layout.main(["--dest", str(tmp_path / "other"), "--records", "12", "--seed", "4"]) == 0
    assert len(rows_of(tmp_path / "other")) == 12
    record = wfdb.rdrecord(str(twin / "records500" / "00000" / "00001_hr"))
    assert record.sig_name == [lead.upper() for lead in LEADS] and record.fs == 500 and record.sig_len == 5000
    leads = record.p_signal.T
    assert np.abs(leads[2] - (leads[1] - leads[0])).max() <= 0.002  # III = II - I up to rounding
    assert wfdb.rdrecord(str(twin / "records100" / "00000" / "00001_lr")).p_signal.shape == (1000, 12)


@pytest.mark.parametrize(
    "task, splits",
    [
        ("super", (352, 72, 64)),
        ("sub", (352, 72, 64)),
        ("form", (87, 23, 16)),
        ("rhythm", (331, 75, 65)),
        ("all", (353, 81, 66)),
    ],
)
def test_real_tasks(real_data, tmp_path, task, splits):
    """Counts of the 500 records at hand, which include some that version 1.0.3 left out."""
    root = real_data / "ptb-xl"
    if not root.is_dir():
        pytest.skip(f"no PTB-XL at {root}")
    assert run(task, root, tmp_path / "m") == 0
    summary = read_json(tmp_path / "m" / "manifest.json")
    assert tuple(summary["splits"].values()) == splits and summary["counts"]["rejected"] == {}


def test_real_published_splits(real_data, tmp_path, capsys):
    """D-E1 on real files: super labels adopted from them are those computed, and counts are the files' own."""
    root, folder = real_data / "ptb-xl", real_data / "splits"
    if not root.is_dir() or not (folder / "ptbxl").is_dir():
        pytest.skip(f"no PTB-XL or split files at {real_data}")
    run("super", root, tmp_path / "m", "--splits", str(folder))
    captured = capsys.readouterr()
    assert "477 records: 0 of 2385 cells differ" in captured.out
    assert "20911 records of" in captured.err  # of 21,388, the published number
    found = labels_by_id(tmp_path / "m")
    for part, split in (("train", "train"), ("val", "valid"), ("test", "test")):
        with open(folder / "ptbxl" / "super_class" / f"ptbxl_super_class_{part}.csv", encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle):
                if int(row["ecg_id"]) <= 500:
                    names = {name for name in ("HYP", "NORM", "MI", "CD", "STTC") if row[name] == "1"}
                    assert found.pop(row["ecg_id"]) == (split, names)
    assert not found


@pytest.mark.parametrize("rate", [500, 100])
def test_real_recordings(real_data, tmp_path, rate):
    root = real_data / "ptb-xl"
    if not root.is_dir():
        pytest.skip(f"no PTB-XL at {root}")
    arguments = ["--pretrain", "--root", str(root), "--dest", str(tmp_path), "--rate", str(rate), "--jobs", "1"]
    assert ptb_xl.main(arguments) == 0
    summary = read_json(tmp_path / "manifest.json")
    assert summary["counts"] == {"in": 500, "out": 499, "rejected": {"report": 1}}
    assert summary["splits"] == {"train": 352, "valid": 81, "test": 66}
    store, reports = RecordStore(tmp_path), read_reports(tmp_path)
    assert int(reports.counts.sum()) == 499
    manifest = Manifest.open(tmp_path, "train")
    ids = manifest.meta(["record_id"])["record_id"].to_pylist()
    for ecg_id in ("1", "317"):
        place = ids.index(ecg_id)
        ecg = store.read(manifest.shard[[place]], manifest.row[[place]])[0]
        name = f"{int(ecg_id):05d}"
        original = wfdb.rdrecord(str(root / ptb_xl_path(name, rate)))
        signal = original.p_signal.T[[[s.lower() for s in original.sig_name].index(lead.lower()) for lead in LEADS]]
        if rate == 500:
            assert np.abs(ecg - signal).max() <= 0.0005 + 1e-6
        else:  # every fifth sample is one of the file's
            assert np.abs(ecg[:, ::5] - signal)[:, 10:-10].max() <= 0.005


def ptb_xl_path(name, rate):
    return f"records{rate}/00000/{name}_{'hr' if rate == 500 else 'lr'}"


def test_corrections_are_statements_of_their_own(twin):
    table = ptb_xl.read_database(twin, limit=2)
    table["report"] = ["sinusrhythmus normales ekg Edit: NORM 100, (NDT)", "sinus rhythm. normal ecg.  Edit: LVH"]
    records = ptb_xl.records_of(table)
    assert records["report"].to_pylist() == ["sinusrhythmus normales ecg edit norm 100 ndt", "sinus rhythm normal ecg edit lvh"]
    assert records["statements"].to_pylist() == [
        "sinusrhythmus normales ecg\nedit norm 100 ndt",
        "sinus rhythm\nnormal ecg\nedit lvh",
    ]
