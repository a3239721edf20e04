"""Readers of CPSC2018's structs and of challenge headers, on files made here and on real ones where they are at hand."""

import errno
import math

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from cmelt_plugin.data.leads import LEADS, lead_indices
from cmelt_plugin.data.readers import contract
from cmelt_plugin.data.readers.challenge_files import (
    read_cpsc_mat,
    read_cpsc_mat_5s,
    read_cpsc_patient,
    read_header_patient,
    read_wfdb_5s,
)
from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from preprocess.data_sets.challenge_records import find_records
from preprocess.synthetic_ecg.layouts.challenge_records import write_wfdb_mat
from tests.preprocess.mimic_layout import make_ecg


def write_struct(path, data, sex="Male", age=61):
    savemat(path, {"ECG": {"sex": sex, "age": age, "data": data}}, do_compression=True)
    return str(path)


def test_a_struct_is_read_as_millivolts_at_500_hz(tmp_path):
    ecg = make_ecg(0, 8.2)
    path = write_struct(tmp_path / "A0001.mat", ecg)
    for name in (path, path[: -len(".mat")]):
        recording = read_cpsc_mat(name)
        assert np.array_equal(recording.signal, ecg) and tuple(recording.leads) == LEADS
        assert list(recording.units) == ["mV"] * 12 and recording.rate == 500
    patient = read_cpsc_patient(path)
    assert (patient.sex, patient.age, tuple(patient.codes)) == ("M", 61, ())


@pytest.mark.parametrize("age, expected", [(0, 0), (89.0, 89), (math.nan, math.nan), (300, math.nan), (-1, math.nan)])
def test_impossible_ages_are_unknown(tmp_path, age, expected):
    found = read_cpsc_patient(write_struct(tmp_path / "A0001.mat", make_ecg(0), "unknown", age))
    assert found.sex == "" and (found.age == expected or math.isnan(found.age) and math.isnan(expected))


def test_the_first_five_seconds(tmp_path):
    ecg = make_ecg(0, 12.0)
    path = write_struct(tmp_path / "A0001.mat", ecg)
    assert np.array_equal(read_cpsc_mat_5s(path).signal, ecg[:, :2500])
    write_wfdb_mat(tmp_path / "A0002", ecg, [])
    assert np.abs(read_wfdb_5s(str(tmp_path / "A0002")).signal - ecg[:, :2500]).max() <= 0.0005 + 1e-9


def faulty(tmp_path, fault):
    path = tmp_path / "A0001.mat"
    if fault == "truncated":
        write_struct(path, make_ecg(0))
        path.write_bytes(path.read_bytes()[:5000])
    elif fault == "garbage":
        path.write_bytes(bytes(range(256)) * 20)
    elif fault == "empty":
        path.touch()
    elif fault == "no struct":
        savemat(path, {"val": np.zeros((12, 5000), dtype=np.int16)}, format="4")
    elif fault == "no data":
        savemat(path, {"ECG": {"sex": "Male", "age": 3}})
    elif fault == "text":
        write_struct(path, "no numbers")
    elif fault == "transposed":
        write_struct(path, make_ecg(0).T)
    elif fault == "folder":
        path.mkdir()
    return str(path)


@pytest.mark.parametrize(
    "fault, code",
    [
        ("absent", "missing: A0001.mat"),
        ("truncated", "(truncated|unreadable): A0001.mat"),
        ("garbage", "(truncated|unreadable): A0001.mat"),
        ("empty", "(truncated|unreadable): A0001.mat"),
        ("no struct", "header: A0001.mat: holds no struct ECG; a copy in WFDB format needs its .hea files"),
        ("no data", "header: A0001.mat: its struct ECG holds no matrix data"),
        ("text", "header: A0001.mat: its struct ECG holds no matrix data"),
        ("transposed", "leads: A0001.mat: 5000 rows where the 12 leads are expected"),
        ("folder", "unreadable: A0001.mat"),
    ],
)
def test_faulty_structs_are_rejected_with_a_reason(tmp_path, fault, code):
    path = faulty(tmp_path, fault)
    with pytest.raises(Rejected, match=f"^{code}"):
        read_cpsc_mat(path)
    if fault not in ("no data", "text", "transposed"):
        assert read_cpsc_patient(path).sex == ""


def test_trouble_of_the_machine_stops_the_run(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error", "A0001.mat")

    path = write_struct(tmp_path / "A0001.mat", make_ecg(0))
    monkeypatch.setattr(contract.os, "fdopen", fail)
    for read in (read_cpsc_mat, read_cpsc_patient, read_wfdb, read_header_patient):
        (tmp_path / "A0001.mat.hea").touch()
        with pytest.raises(OSError, match="Input/output error"):
            read(path)


@pytest.mark.parametrize("mark", ["#", "# "])
def test_comments_of_a_header(tmp_path, mark):
    comments = [f"{mark}Age: 74", f"{mark}Sex: Female", f"{mark}Dx: 59118001,164889003, 59118001", f"{mark}Rx: Unknown"]
    write_wfdb_mat(tmp_path / "JS00001", make_ecg(0), comments)
    assert read_header_patient(tmp_path / "JS00001") == ("F", 74, ("59118001", "164889003"))


def test_comments_of_a_header_whose_lines_ran_into_one(tmp_path):
    """As in two headers of ecg-arrhythmia 1.0.0, JS01052 and JS23074."""
    lines = ["JS01052 12 500 500000/mV 16 0 15 31255 0 I", "JS01052.mat 16+24 1000/mV 16 0 1 2 0 II"]
    (tmp_path / "JS01052.hea").write_text("\n".join([*lines, "#Age: NaN", "#Sex: Unknown", "#Dx: 427084000"]))
    patient = read_header_patient(tmp_path / "JS01052")
    assert patient.sex == "" and math.isnan(patient.age) and patient.codes == ("427084000",)
    with pytest.raises(Rejected, match="^header: JS01052.hea"):
        read_wfdb(str(tmp_path / "JS01052"))


def test_a_missing_header_tells_nothing(tmp_path):
    patient = read_header_patient(tmp_path / "JS00001")
    assert patient.sex == "" and math.isnan(patient.age) and not patient.codes


def test_records_are_found_in_any_folder(tmp_path):
    for place in ("b/JS00002.hea", "a/b/JS00001.hea", "JS00003.hea", "b/JS00001.hea", "b/JS00001.mat", "E00001.hea"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    found = find_records(tmp_path, r"JS\d{5}", ".hea")
    assert found == [("JS00001", "a/b/JS00001"), ("JS00001", "b/JS00001"), ("JS00002", "b/JS00002"), ("JS00003", "JS00003")]


def real_files(real_data, folder, pattern):
    files = sorted((real_data / folder).glob(pattern))
    if not files:
        pytest.skip(f"no recordings at {real_data / folder}")
    return files


def test_real_structs(real_data):
    for path in real_files(real_data, "cpsc2018", "A*.mat"):
        fields = loadmat(path)["ECG"][0, 0]
        recording, patient = read_cpsc_mat(str(path)), read_cpsc_patient(path)
        assert np.array_equal(recording.signal, fields["data"])
        assert patient.sex == fields["sex"][0][0] and patient.age == fields["age"][0, 0]
        # The leads are where their names say, up to the rounding of each to 0.001 mV.
        i, ii, iii, avr, avl, avf = recording.signal[:6]
        for relation in (iii - (ii - i), avr + (i + ii) / 2, avl - (i - iii) / 2, avf - (ii + iii) / 2):
            assert np.abs(relation).max() < 0.002


def test_real_structs_are_millivolts(real_data):
    """The header of A1980 in PhysioNet's copy: gain 1000 per mV, first samples, and sums of all samples modulo 2**16."""
    first = [202, 365, 163, -284, 20, 264, 190, 1119, 1368, 1369, 1170, 484]
    sums = [45, 25, 52, -12, 32, 27, 2, 44, 91, 74, 87, 66]
    path = real_files(real_data, "cpsc2018", "A1980.mat")[0]
    digital = np.rint(1000 * read_cpsc_mat(str(path)).signal).astype(int)
    assert digital.shape == (12, 5000) and digital[:, 0].tolist() == first
    assert ((digital.sum(axis=1) + 32768) % 65536 - 32768).tolist() == sums


def test_real_wfdb_mat_records(real_data):
    for path in real_files(real_data, "cinc2021", "JS*.mat"):
        recording = read_wfdb(str(path.with_suffix("")))
        assert lead_indices(recording.leads) == list(range(12)) and set(recording.units) == {"mV"}
        assert np.array_equal(recording.signal, loadmat(path)["val"] / 1000) and recording.rate == 500
        assert read_header_patient(path.with_suffix("")).codes
