"""``python -m cmelt_plugin.convert``: any format to any other and back, and a table of what was lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import wfdb
from format_files import known_counts

from cmelt_plugin.convert import WRITERS, main
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.reading import read_ecg
from cmelt_plugin.intake.recording import Recording
from tests.intake.writers import edf, ishne, muse

SUFFIX = {"wfdb": ".dat", "npy": ".npy", "csv": ".csv", "dicom": ".dcm"}
COUNTS = known_counts()
FULL = Recording(
    (COUNTS * 0.00488).astype(np.float32),
    500.0,
    LEADS,
    datetime(2020, 2, 29, 23, 5, 6),
    "F",
    61.0,
    "Nobody's Twin",
    "high-pass 0.05 Hz, low-pass 150 Hz",
)


def needs(kind: str) -> None:
    if kind == "dicom":
        pytest.importorskip("pydicom", minversion="3", reason="pydicom 3 is not installed: pip install 'cmelt-plugin[echo]'")


def cells(text: str) -> list[dict[str, str]]:
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()]
    return [dict(zip(head, row)) for row in rows]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_recording_comes_back_whole(tmp_path: Path, kind: str) -> None:
    needs(kind)
    signal = FULL.signal.copy()
    signal[4, 10:20] = np.nan
    WRITERS[kind](tmp_path / "a", replace(FULL, signal=signal))
    again = read_ecg(str(tmp_path / f"a{SUFFIX[kind]}"))
    np.testing.assert_allclose(again.signal, signal, atol=1e-6)  # NaN where it is NaN
    for name in ("sample_rate", "leads", "start", "sex", "age", "device", "filters"):
        assert getattr(again, name) == getattr(FULL, name), name


@pytest.mark.parametrize("kind", WRITERS)
def test_other_leads_odd_rates_and_numbers_without_a_step(tmp_path: Path, kind: str) -> None:
    needs(kind)
    signal = np.random.default_rng(0).normal(size=(2, 700)).astype(np.float32)
    WRITERS[kind](tmp_path / "a", Recording(signal, 511.844, ("II", "my own lead")))
    again = read_ecg(str(tmp_path / f"a{SUFFIX[kind]}"))
    assert again.leads == ("II", "my own lead") and again.sample_rate == pytest.approx(511.844)
    np.testing.assert_allclose(again.signal, signal, atol=1e-6)


def test_others_read_the_record(tmp_path: Path) -> None:
    WRITERS["wfdb"](tmp_path / "a", FULL)
    found = wfdb.rdrecord(str(tmp_path / "a"), physical=False)
    np.testing.assert_array_equal(found.d_signal.T, COUNTS)
    assert found.sig_name == list(LEADS) and found.units == ["mV"] * 12
    assert not np.any((np.array(found.checksum) - found.calc_checksum(False)) % 65536)
    assert datetime.combine(found.base_date, found.base_time) == FULL.start


def test_others_read_the_dicom_file(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", minversion="3")
    WRITERS["dicom"](tmp_path / "a", FULL)
    found = pydicom.dcmread(tmp_path / "a.dcm")
    assert found.SOPClassUID == pydicom.uid.TwelveLeadECGWaveformStorage and found.PatientName == ""
    np.testing.assert_allclose(found.waveform_array(0).T / 1000, FULL.signal, atol=1e-6)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    muse.write(tmp_path / "a.xml", known_counts(8))
    edf.write(tmp_path / "b.c.edf", COUNTS)
    (tmp_path / "no.xyz").write_text("nothing")
    inputs = ["a.xml", "b.c.edf", "no.xyz"]
    assert main([*inputs, "--to", "csv", "--dest", "out"]) == 1
    output = capsys.readouterr()
    assert "error: no.xyz: is of no format" in output.err
    first, second = cells(output.out)
    assert (first["recording"], first["format"], first["step (µV)"]) == ("a", "GE MUSE XML", "4.88")
    assert first["lost"] == "–" and "III, aVR, aVL, aVF were computed from I and II." in first["notes and doubts"]
    assert (second["recording"], second["format"], second["largest difference (µV)"]) == ("b_c", "EDF", "0")
    np.testing.assert_array_equal(read_ecg("out/a.csv").signal, read_ecg("a.xml").signal)
    assert main(["a.xml", "--to", "csv", "--dest", "out"]) == 1
    assert "is there already; --overwrite replaces it" in capsys.readouterr().err
    assert main(["a.xml", "--to", "csv", "--dest", "out", "--overwrite"]) == 0


def test_what_a_format_cannot_hold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("dicom")
    muse.write(tmp_path / "a.xml", known_counts(8))
    assert main([str(tmp_path / "a.xml"), "--to", "dicom", "--dest", str(tmp_path / "out")]) == 0
    (row,) = cells(capsys.readouterr().out)
    assert row["lost"] == "age (0.5 became 0.0); filters (HighPassFilter 5, LowPassFilter 150)"


ODD = ("I誘導", "x" * 70 + "1", "x" * 70 + "2", "a\\b", "a/b", "", "I")


def odd_input(folder: Path, leads: tuple[str, ...] = ODD) -> str:
    np.save(folder / "odd.npy", FULL.signal[: len(leads)])
    (folder / "odd.json").write_text(
        json.dumps({"sample_rate": 500, "unit": "mV", "leads": leads, "device": "Müller\\心電計"}), encoding="utf-8"
    )
    return str(folder / "odd.npy")


def test_any_name_of_a_lead_comes_to_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("dicom")
    assert main([odd_input(tmp_path), "--to", "dicom", "--dest", str(tmp_path / "out")]) == 0
    again = read_ecg(str(tmp_path / "out" / "odd.dcm"))
    assert again.leads == ("I誘導", "x" * 64, "x" * 62 + " 2", "a/b", "a/b 2", "channel 6", "I")
    assert again.device == "Müller/心電計"
    np.testing.assert_allclose(again.signal, FULL.signal[: len(ODD)], atol=1e-6)
    (row,) = cells(capsys.readouterr().out)
    assert "'' became 'channel 6'" in row["lost"] and "'I'" not in row["lost"] and "I誘導" not in row["lost"]


@pytest.mark.parametrize("kind", WRITERS)
def test_what_does_not_come_back_is_removed_and_others_are_converted(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs(kind)
    edf.write(tmp_path / "b.edf", COUNTS)
    write = WRITERS[kind]

    def exchanged(path: Path, recording: Recording) -> list[Path]:
        return write(path, recording if path.name == "b" else replace(recording, leads=("II", "I", *recording.leads[2:])))

    monkeypatch.setitem(WRITERS, kind, exchanged)
    inputs = [odd_input(tmp_path, LEADS), str(tmp_path / "b.edf")]
    assert main([*inputs, "--to", kind, "--dest", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert "came back with II, I, III" in output.err and [row["recording"] for row in cells(output.out)] == ["b"]
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"b"}
    before = {path: path.read_bytes() for path in tmp_path.glob("odd.*")}
    assert main([inputs[0], "--to", kind, "--dest", str(tmp_path), "--overwrite"]) == 1
    assert {path: path.read_bytes() for path in tmp_path.glob("odd.*")} == before


def test_a_name_that_no_file_can_hold_stops_that_recording_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edf.write(tmp_path / "b.edf", COUNTS)
    inputs = [odd_input(tmp_path, ("\ud800", "II")), str(tmp_path / "b.edf")]
    assert main([*inputs, "--to", "npy", "--dest", str(tmp_path / "out")]) == 1
    assert "odd cannot be converted to npy: 'utf-8' codec" in capsys.readouterr().err
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"b"}


def test_windows_and_the_best_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ishne.write(tmp_path / "a.ecg", known_counts(12, 1300)))
    assert main([path, "--to", "npy", "--windows", "1", "--dest", str(tmp_path / "all")]) == 0
    assert [row["recording"] for row in cells(capsys.readouterr().out)] == ["a_00000", "a_00001"]
    np.testing.assert_array_equal(read_ecg(f"{tmp_path}/all/a_00001.npy").signal, read_ecg(path).signal[:, 500:1000])
    assert main([path, "--to", "npy", "--best", "1", "--dest", str(tmp_path / "best")]) == 0
    assert "the highest of the" in capsys.readouterr().out
    assert read_ecg(f"{tmp_path}/best/a.npy").signal.shape == (12, 500)


def test_names(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        edf.write(tmp_path / folder / "x.edf", COUNTS)
    ishne.write(tmp_path / "a" / "x.ecg", COUNTS)
    np.save(tmp_path / "a" / "many.npy", np.stack([FULL.signal] * 2))
    assert main([*(str(tmp_path / "a" / name) for name in ("x.edf", "x.ecg")), "--to", "npy", "--dest", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("x*.npy")} == {"x_edf.npy", "x_ecg.npy"}
    with pytest.raises(DataError, match="b/x.edf: would become x_edf, as .*a/x.edf does"):
        main([*(str(tmp_path / folder / "x.edf") for folder in ("a", "b")), "--to", "npy", "--dest", str(tmp_path)])
    (tmp_path / "a" / "many.json").write_text(json.dumps({"sample_rate": 500, "unit": "mV", "leads": LEADS}))
    rows = [f"{tmp_path}/a/many.npy[{row}]" for row in range(2)]
    assert main([*rows, "--to", "wfdb", "--dest", str(tmp_path / "rows")]) == 0
    assert sorted(path.name for path in (tmp_path / "rows").glob("*.hea")) == ["many_npy_0.hea", "many_npy_1.hea"]
