"""Whatever the file is, ``read_ecg`` finds its format by content, or says what can be read."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_files import check_agreement, known_counts, measured, real_file
from scipy.io import savemat

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Reading, Span
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.reading import FORMATS, read_ecg
from tests.intake.writers import edf, ishne, scp

SIGNAL = known_counts() * 0.0025


def described(path: Path, **changes: object) -> str:
    description = {"sample_rate": 500, "unit": "mV", "leads": list(LEADS), "sex": "F", "age": 61, **changes}
    path.with_suffix(".json").write_text(json.dumps({name: value for name, value in description.items() if value is not None}))
    return str(path)


@pytest.mark.parametrize("write", ("scp", "ishne", "edf"))
def test_a_format_is_known_by_content_whatever_the_name(tmp_path: Path, write: str) -> None:
    path = tmp_path / "a.dcm"
    if write == "scp":
        scp.write(path, scp.sections_of(known_counts()))
    else:
        {"ishne": ishne, "edf": edf}[write].write(path, known_counts())
    recording = read_ecg(str(path))
    assert recording.leads == LEADS and recording.sample_rate == 500
    np.testing.assert_allclose(recording.signal, SIGNAL, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    (
        "dicom/mortara_el250_anonymous.dcm",
        "scp/ecgtoolkit_example.scp",
        "ishne/ECG_P28.01.ecg",
        "other/contec_0000050_limb_only.edf",
    ),
)
def test_real_files(real_data: Path, name: str) -> None:
    if name.endswith(".dcm"):
        pytest.importorskip("pydicom", minversion="3", reason="pydicom 3 is not installed: pip install 'cmelt-plugin[echo]'")
    path, expected = real_file(real_data, name)
    check_agreement(read_ecg(str(path)), expected)


def test_no_format_has_rates_or_voltages_that_no_recorder_has(tmp_path: Path) -> None:
    volts = edf.write(tmp_path / "a.edf", known_counts(), unit="V")
    fast = ishne.write(tmp_path / "b.ecg", known_counts(), rate=60_000)
    for path, reason in ((volts, "a.edf: has samples beyond 10 V"), (fast, "b.ecg: a sample rate of 60000 Hz")):
        with pytest.raises(DataError, match=reason):
            read_ecg(str(path))


@pytest.mark.parametrize("name", ("other/muse_text_12lead.txt", "dicom/mortara_el250_anonymous_rendering.pdf"))
def test_real_files_that_do_not_say_enough(real_data: Path, name: str) -> None:
    path, _ = real_file(real_data, name)
    with pytest.raises(DataError, match="sample rate, unit and leads; write them" if name.endswith("txt") else "no format"):
        read_ecg(str(path))


def test_a_real_wfdb_record(real_data: Path) -> None:
    stem = real_data / "ptb-xl" / "records500" / "00000" / "00001_hr"
    if not Path(f"{stem}.hea").is_file():
        pytest.skip(f"no record {stem}")
    for path in (stem, f"{stem}.hea", f"{stem}.dat"):
        recording = read_ecg(str(path))
        assert recording.signal.shape == (12, 5000) and recording.leads == LEADS and recording.sample_rate == 500


def test_facts_of_a_wfdb_header(tmp_path: Path) -> None:
    counts = known_counts(2, 100)
    (tmp_path / "a.dat").write_bytes(counts.T.astype("<i2").tobytes())
    header = "a 2 100 100 07:30:00 1/3/2020\na.dat 16 400/mV 16 0 0 0 0 MLII\na.dat 16 1(0)/mmHg 16 0 0 0 0 ABP\n"
    (tmp_path / "a.hea").write_text(header + "# Age: 61\n#Sex: Female\n")
    recording = read_ecg(str(tmp_path / "a"))
    assert (recording.start, recording.sex, recording.age) == (datetime(2020, 3, 1, 7, 30), "F", 61)
    assert recording.leads == ("MLII",) and "Left out: ABP (mmHg)." in recording.notes
    np.testing.assert_allclose(recording.signal, counts[:1] / 400, atol=1e-6)


@pytest.mark.parametrize("rate", (101, 250))
def test_less_than_a_second_is_refused_in_every_format_but_not_as_a_part(tmp_path: Path, rate: int) -> None:
    (tmp_path / "a.dat").write_bytes(known_counts(1, 100).T.astype("<i2").tobytes())
    (tmp_path / "a.hea").write_text(f"a 1 {rate} 100\na.dat 16 400/mV 16 0 0 0 0 II\n")
    path = str(tmp_path / "a")
    with pytest.raises(DataError, match=rf"100 samples, {100 / rate:.3g} s, are too short for a rhythm; give at least 1 s"):
        read_ecg(path)
    assert read_ecg(path, Reading(Span(10, 30))).signal.shape[1] == 20


@pytest.mark.parametrize("suffix", (".npy", ".npz", ".h5", ".mat", ".csv", ".txt"))
def test_arrays_with_a_description(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, SIGNAL.T)
    elif suffix == ".npz":
        np.savez(path, SIGNAL)
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["tracings"] = SIGNAL.T[None]
    elif suffix == ".mat":
        savemat(path, {"val": SIGNAL})
    else:
        np.savetxt(path, SIGNAL.T, delimiter="," if suffix == ".csv" else " ")
    recording = read_ecg(described(path))
    assert (recording.leads, recording.sample_rate, recording.sex, recording.age) == (LEADS, 500, "F", 61)
    np.testing.assert_allclose(recording.signal, SIGNAL, atol=1e-6)


def test_one_recording_of_many(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([SIGNAL * 0, SIGNAL * 1e3]))
    described(tmp_path / "a.npy", unit="uV")
    np.testing.assert_allclose(read_ecg(f"{tmp_path}/a.npy[1]").signal, SIGNAL, atol=1e-6)
    with pytest.raises(DataError, match="an array of shape"):
        read_ecg(f"{tmp_path}/a.npy")


def test_numbers_that_are_no_voltages(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.where(np.arange(600) == 7, np.inf, SIGNAL))
    with pytest.raises(DataError, match="samples beyond 10 V"):
        read_ecg(described(tmp_path / "a.npy"))
    np.save(tmp_path / "a.npy", SIGNAL * np.nan)
    with pytest.raises(DataError, match="holds no samples"):
        read_ecg(described(tmp_path / "a.npy"))


def test_structs_of_cpsc_need_no_description(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"ECG": {"sex": "Male", "age": 61, "data": SIGNAL}})
    recording = read_ecg(str(tmp_path / "a.mat"))
    assert (recording.leads, recording.sample_rate, recording.sex, recording.age) == (LEADS, 500, "M", 61)
    np.testing.assert_allclose(recording.signal, SIGNAL, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"unit": None}, "unit is None; give one of"),
        ({"unit": "mm"}, "unit is 'mm'"),
        ({"sample_rate": None}, "sample_rate is None"),
        ({"sample_rate": "500"}, "sample_rate is '500'"),
        ({"leads": None}, "leads are not named"),
        ({"leads": ["I"] * 12}, "a lead twice"),
        ({"leads": ["I"]}, "for 1 leads"),
        ({"gain": 1000}, "a.json: 'gain' is not known; it may say sample_rate, unit, leads, variable, start, sex"),
    ],
)
def test_descriptions_that_do_not_do(tmp_path: Path, change: dict, reason: str) -> None:
    np.save(tmp_path / "a.npy", SIGNAL)
    with pytest.raises(DataError, match=reason):
        read_ecg(described(tmp_path / "a.npy", **change))


def test_a_heading_and_a_description_that_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,Lead II,Lead I\n" + "0,1,2\n" * 500)
    with pytest.raises(DataError, match="a.csv: its heading names II, I, but its description I, II; compare it with .*a.json"):
        read_ecg(described(tmp_path / "a.csv", leads=["I", "II"]))
    recording = read_ecg(described(tmp_path / "a.csv", leads=["II", "I"]))
    assert "Columns left out: time." in recording.notes and recording.signal[recording.leads.index("II"), 0] == 1


def test_what_is_no_ecg_says_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(b"hello")
    with pytest.raises(
        DataError, match="a.xyz: is of no format that is read; export it as one of these: DICOM, SCP-ECG"
    ) as caught:
        read_ecg(str(tmp_path / "a.xyz"))
    assert all(name in str(caught.value) for name in FORMATS)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(DataError, match="no format"):
        read_ecg(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="No such file"):
        read_ecg(str(tmp_path / "missing.scp"))
    with pytest.raises(DataError, match="is a folder"):
        read_ecg(str(tmp_path))
    os.mkfifo(tmp_path / "fifo.scp")
    with pytest.raises(DataError, match="FIFO"):
        read_ecg(str(tmp_path / "fifo.scp"))
    np.save(tmp_path / "b.npy", SIGNAL)
    with pytest.raises(DataError, match="b.npy: does not say its sample rate.*b.json"):
        read_ecg(str(tmp_path / "b.npy"))


@pytest.mark.parametrize("write", ("scp", "ishne", "edf", "dicom"))
def test_files_of_2_gb(tmp_path: Path, write: str) -> None:
    """Holes, not data: they take no room. What follows the samples announced is left out, what must be read at once refused."""
    path = tmp_path / "a"
    if write == "scp":
        scp.write(path, scp.sections_of(known_counts()))
    elif write == "dicom":
        path.write_bytes(bytes(128) + b"DICM")
        pytest.importorskip("pydicom", minversion="3", reason="pydicom 3 is not installed: pip install 'cmelt-plugin[echo]'")
    else:
        {"ishne": ishne, "edf": edf}[write].write(path, known_counts())
    with open(path, "r+b") as handle:
        handle.truncate(2 << 30)
    if write in ("scp", "dicom"):
        with pytest.raises(DataError, match="2,147,483,648 bytes, at most"):
            measured(read_ecg, path)
    else:
        recording = measured(read_ecg, path)
        assert recording.signal.shape == (12, 600) and "the rest is left out" in recording.notes[0]
