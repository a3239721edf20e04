"""The PTB-XL command, on rows made here and on real recordings where they are at hand."""

import csv

import numpy as np
import pytest
import wfdb

from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.manifest import Manifest
from cmelt_plugin.data.reports import read_reports
from cmelt_plugin.data.store import RecordStore
from cmelt_plugin.errors import DataError
from preprocess import ptb_xl
from preprocess.ptb_xl import read_records
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
    write_layout(tmp_path, [{}])
    write_record(tmp_path / "records100" / "00001_lr", make_ecg(0, rate=100), rate=100, leads=LEADS)
    arguments = ["--pretrain", "--root", str(tmp_path), "--dest", str(tmp_path / "m"), "--rate", "100", "--jobs", "1"]
    assert ptb_xl.main(arguments) == 0
    manifest = Manifest.open(tmp_path / "m", "train")
    assert manifest.n_samples.tolist() == [5000]
    assert manifest.meta(["source_rate"])["source_rate"].to_pylist() == [100]
    assert "resampled from 100 Hz to 500 Hz" in read_json(tmp_path / "m" / "manifest.json")["notes"]


def test_without_a_mode(tmp_path, capsys):
    with pytest.raises(SystemExit):
        ptb_xl.main(["--root", str(tmp_path), "--dest", str(tmp_path)])
    assert "--pretrain" in capsys.readouterr().err


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
