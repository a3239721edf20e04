"""The MIMIC-IV-ECG command on a tiny folder of the same layout."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.errors import DataError
from preprocess import mimic_iv_ecg
from preprocess.mimic_iv_ecg import read_records
from tests.preprocess.mimic_layout import MIMIC_LEADS, make_ecg, write_mimic_layout

REPOSITORY = Path(__file__).resolve().parents[2]
ALL_TRAIN = ["--jobs", "1", "--split", "1", "0", "0"]


def convert(root, dest, *more):
    assert mimic_iv_ecg.main(["--root", str(root), "--dest", str(dest), *ALL_TRAIN, *more]) == 0
    return Manifest.open(dest, "train")


def rejections(dest):
    lines = (dest / "rejected.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {record: reason for record, _, reason in (line.split("\t") for line in lines)}


def test_bad_records_are_left_out_with_a_reason(tmp_path):
    nan = make_ecg(0)
    nan[3, 17] = np.nan
    flat = make_ecg(0)
    flat[2] = 0
    bad = {
        "1": ({"fault": "truncated"}, "truncated: 1.dat has 119000 bytes"),
        "2": ({"fault": "wrong_name"}, "missing: elsewhere.dat"),
        "3": ({"leads": MIMIC_LEADS[:11]}, "leads: 11 leads"),
        "4": (
            {"leads": (*MIMIC_LEADS[:11], "V5")},
            "leads: 12 leads where the standard 12 are expected: missing V6; doubled",
        ),
        "5": (
            {"leads": (*MIMIC_LEADS[:11], "Vx")},
            "leads: 12 leads where the standard 12 are expected: missing V6; unknown",
        ),
        "6": ({"ecg": nan}, "nan: 1 samples without a value in aVR"),
        "7": ({"ecg": np.zeros((12, 5000))}, "zero: "),
        "8": ({"ecg": flat}, "flat: constant in III"),
        "9": ({"report": ["", ""]}, "report: "),
        "10": ({"unlisted": True}, "report: "),
        "11": ({"fault": "garbage_header"}, "header: 11.hea does not begin with a record line"),
        "12": ({"seconds": 3}, "short: "),
        "13": ({"unit": "furlong"}, "units: "),
    }
    records = [{"study_id": key, **record} for key, (record, _) in bad.items()]
    write_mimic_layout(tmp_path / "r", [*records, {"study_id": "99"}])
    manifest = convert(tmp_path / "r", tmp_path / "m")
    found = rejections(tmp_path / "m")
    assert list(found) == list(bad)
    for key, (_, reason) in bad.items():
        assert found[key].startswith(reason), (key, found[key])
    assert manifest.meta(["record_id"])["record_id"].to_pylist() == ["99"]


def test_odd_but_usable_records(tmp_path):
    time = np.arange(4000) / 400
    sine = np.tile(np.sin(2 * np.pi * 5 * time), (12, 1))
    words = " ".join(f"w{i}" for i in range(5000))
    records = [
        {"ecg": sine, "rate": 400.0},
        {"seconds": 7},
        {"report": words.upper()},
        {"report": ["Sinus-Rhythmus", "EKG: qt-Verl\u00e4ngerung"]},
    ]
    write_mimic_layout(tmp_path / "r", records)
    manifest = convert(tmp_path / "r", tmp_path / "m")
    assert manifest.n_samples.tolist() == [5000, 3500, 5000, 5000]
    meta = manifest.meta()
    assert meta["source_rate"].to_pylist() == [400, 500, 500, 500]
    assert meta["source"].to_pylist() == ["mimic-iv-ecg"] * 4
    assert meta["time"][0].as_py() == "2180-07-23T08:44:00"
    assert set(meta["sex"].to_pylist()) == {""} and np.isnan(meta["age"].to_numpy()).all()
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    expected = np.sin(2 * np.pi * 5 * np.arange(5000) / 500)
    assert np.abs(ecg[0, :, 100:-100] - expected[100:-100]).max() < 0.02
    assert not ecg[1, :, 3500:].any()
    texts = read_reports(tmp_path / "m").texts.to_pylist()
    assert texts[2] == words and texts[3] == "sinus rhythmus ecg qt verl\u00e4ngerung"


def test_leads_are_ordered_by_name(tmp_path):
    write_mimic_layout(tmp_path / "r", [{}])
    manifest = convert(tmp_path / "r", tmp_path / "m")
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)[0]
    original = make_ecg(0)
    for position, lead in enumerate(RecordStore(manifest.store_root).leads):
        assert np.abs(ecg[position] - original[MIMIC_LEADS.index(lead)]).max() <= 0.0011, lead


def test_reports_are_joined_on_the_study(tmp_path):
    write_mimic_layout(tmp_path, [{"report": [f"first {i}", "", f"second {i}"]} for i in range(4)])
    path = tmp_path / "machine_measurements.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows), rows[0].replace("first", "again")]) + "\n")
    table = read_records(tmp_path)
    assert table["report"].to_pylist() == [f"first {i} second {i}" for i in range(4)]
    assert table["record_id"].to_pylist() == [str(40000000 + i) for i in range(4)]
    assert table["subject_id"].to_pylist() == ["10000000", "10000000", "10000001", "10000001"]


def test_columns_beyond_ten_keep_their_order(tmp_path):
    write_mimic_layout(tmp_path, [{"report": [f"c{i}" for i in range(18)]}])
    assert read_records(tmp_path)["report"].to_pylist() == [" ".join(f"c{i}" for i in range(18))]


def test_report_that_is_not_utf8(tmp_path, capsys):
    records = [{"report": "Vorhofflimmern mit \u00dcberleitung"}, {"report": "f\u00f6rmaksflimmer"}]
    write_mimic_layout(tmp_path, records, encoding="latin-1")
    assert read_records(tmp_path)["report"].to_pylist() == [
        "vorhofflimmern mit \u00fcberleitung",
        "f\u00f6rmaksflimmer",
    ]
    assert "2 bytes are not UTF-8" in capsys.readouterr().err


def test_duplicate_record_ids(tmp_path):
    write_mimic_layout(tmp_path / "r", [{"study_id": 1}, {"study_id": 2}])
    listed = tmp_path / "r" / "record_list.csv"
    listed.write_text(listed.read_text() + listed.read_text().splitlines()[1] + "\n")
    manifest = convert(tmp_path / "r", tmp_path / "m")
    assert manifest.meta(["record_id"])["record_id"].to_pylist() == ["1", "2"]
    assert rejections(tmp_path / "m")["1"].startswith("duplicate: ")


def test_limit(tmp_path):
    write_mimic_layout(tmp_path / "r", [{} for _ in range(4)])
    assert len(convert(tmp_path / "r", tmp_path / "m", "--limit", "3")) == 3


@pytest.mark.parametrize("name", ["record_list.csv", "machine_measurements.csv"])
def test_missing_file(tmp_path, name):
    write_mimic_layout(tmp_path, [{}])
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name}: no such file; expected the layout of MIMIC-IV-ECG 1.0"):
        read_records(tmp_path)


@pytest.mark.parametrize("name, column", [("record_list.csv", "path"), ("machine_measurements.csv", "report_0")])
def test_missing_column(tmp_path, name, column):
    write_mimic_layout(tmp_path, [{}])
    path = tmp_path / name
    path.write_text(path.read_text().replace(column, "other", 1))
    with pytest.raises(DataError, match=f"{name}: no column {column}; expected the layout"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'subject_id,study_id,ecg_time,path\n1,2,3,"4\n',
        "subject_id,study_id,ecg_time,path\n1,2,3,4,5,6\n1,2,3,4\n1,2,3,4,5,6,7,8\n",
    ],
)
def test_files_that_are_no_csv(tmp_path, text):
    write_mimic_layout(tmp_path, [{}])
    (tmp_path / "record_list.csv").write_text(text)
    with pytest.raises(DataError, match="record_list.csv: not a CSV file"):
        read_records(tmp_path)


def test_shares_must_add_up(tmp_path):
    write_mimic_layout(tmp_path / "data", [{}])
    with pytest.raises(DataError, match="must add up to 1"):
        mimic_iv_ecg.main(["--root", str(tmp_path / "data"), "--dest", str(tmp_path / "m"), "--split", "0.9", "0.2", "0.1"])


def test_as_a_command(tmp_path):
    command = [sys.executable, "-m", "preprocess.mimic_iv_ecg"]
    shown = subprocess.run([*command, "--help"], cwd=REPOSITORY, capture_output=True, text=True)
    assert shown.returncode == 0 and shown.stdout.rstrip().endswith("--jobs 16")
    failed = subprocess.run(
        [*command, "--root", str(tmp_path), "--dest", str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
