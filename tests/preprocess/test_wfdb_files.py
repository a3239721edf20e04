"""Reading WFDB records: the same numbers as the wfdb package, and a reason for every file that cannot be read."""

import errno
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.leads import LEADS
from preprocess.recording import Rejected, to_row
from preprocess.wfdb_files import read_wfdb
from tests.preprocess.mimic_layout import MIMIC_LEADS, damage, make_ecg, write_record


def same_as_wfdb(path):
    ours, theirs = read_wfdb(str(path)), wfdb.rdrecord(str(path))
    assert np.array_equal(ours.signal.T, theirs.p_signal, equal_nan=True)
    assert list(ours.leads) == theirs.sig_name and list(ours.units) == theirs.units and ours.rate == theirs.fs


@pytest.fixture
def reads_itself(monkeypatch):
    """Makes a test fail that falls back on the wfdb package."""
    real, called = wfdb.rdrecord, []
    monkeypatch.setattr("preprocess.wfdb_files.wfdb.rdrecord", lambda path: called.append(path) or real(path))
    return lambda: not called


@pytest.mark.parametrize(
    "change",
    [
        (" 16 1000.0(0)/mV", " 16 1000.0(0)/mV"),
        (" 16 1000.0(0)/mV", " 16 204.8(-17)/mV"),
        ("(0)/mV 16 0", "/mV 16 30"),
        (" 16 1000", " 16x1 1000"),
        (" 16 1000", " 16+24 1000"),
        ("12 500 5000", "12 499.5 4990 10:00:00 01/01/2000"),
    ],
)
def test_plain_records_are_read_here(tmp_path, reads_itself, change):
    ecg = make_ecg(0)
    ecg[3, 5:9] = np.nan
    write_record(tmp_path / "a", ecg)
    data, header = tmp_path / "a.dat", tmp_path / "a.hea"
    data.write_bytes(data.read_bytes() + bytes(24))
    assert change[0] in header.read_text()
    header.write_text("# comment\n" + header.read_text().replace(*change) + "#Age: 5\n")
    read_wfdb(str(tmp_path / "a"))
    assert reads_itself()
    same_as_wfdb(tmp_path / "a")


@pytest.mark.parametrize("fmt", ["212", "24", "32", "80"])
def test_other_formats_are_left_to_the_package(tmp_path, reads_itself, fmt):
    ecg = make_ecg(0) * 0.1
    options = {"fs": 500, "units": ["mV"] * 12, "sig_name": list(LEADS), "fmt": [fmt] * 12, "write_dir": str(tmp_path)}
    wfdb.wrsamp("a", p_signal=ecg.T.copy(), adc_gain=[200.0] * 12, baseline=[0] * 12, **options)
    same_as_wfdb(tmp_path / "a")
    assert not reads_itself()
    (tmp_path / "a.dat").write_bytes((tmp_path / "a.dat").read_bytes()[:-500])
    with pytest.raises(Rejected, match="^unreadable|^header" if fmt == "212" else "^truncated: a.dat has"):
        read_wfdb(str(tmp_path / "a"))


def test_real_recordings_read_like_the_package(real_data):
    headers = sorted(Path(real_data).glob("cinc2021/*.hea"))[::5]
    headers += sorted(Path(real_data).glob("ptb-xl/records*/*/*.hea"))[::50]
    if not headers:
        pytest.skip(f"no recordings in {real_data}")
    for header in headers:
        same_as_wfdb(header.with_suffix(""))


def test_wfdbs_invalid_sample_is_a_missing_value(tmp_path):
    ecg = make_ecg(5)
    ecg[1, 10] = np.nan
    write_record(tmp_path / "a", ecg)
    with pytest.raises(Rejected, match="^nan: 1 samples without a value in II$"):
        to_row(read_wfdb(str(tmp_path / "a")))


@pytest.mark.parametrize("fmt", ["16", "24"])
@pytest.mark.parametrize("sign", [b"\xb5", "\u00b5".encode(), "\u03bc".encode()])
def test_micro_sign_in_a_header(tmp_path, sign, fmt):
    """The wfdb package drops what is not ASCII and would take microvolts for volts."""
    ecg = make_ecg(8)
    write_record(tmp_path / "a", ecg * 1000, unit="uV", gain=1.0, fmt=fmt)
    header = tmp_path / "a.hea"
    header.write_bytes(header.read_bytes().replace(b"/uV", b"/" + sign + b"V"))
    assert wfdb.rdheader(str(tmp_path / "a")).units[0] == "V"
    assert np.abs(to_row(read_wfdb(str(tmp_path / "a"))).steps * 0.001 - _canonical(ecg)).max() <= 0.001


def test_volts_stay_volts(tmp_path):
    ecg = make_ecg(8)
    write_record(tmp_path / "a", ecg / 1000, unit="V", gain=1e6)
    assert np.abs(to_row(read_wfdb(str(tmp_path / "a"))).steps * 0.001 - _canonical(ecg)).max() <= 0.001


def _canonical(ecg):
    return ecg[[MIMIC_LEADS.index(lead) for lead in LEADS]]


@pytest.mark.parametrize(
    "fault, reason",
    [
        ("truncated", "truncated: a.dat has 119000 bytes where the header announces 120000"),
        ("missing_dat", "missing: a.dat: No such file"),
        ("wrong_name", "missing: elsewhere.dat: No such file"),
        ("missing_header", "missing: a.hea: No such file"),
        ("garbage_header", "header: a.hea cannot be read"),
    ],
)
def test_damaged_files(tmp_path, fault, reason):
    write_record(tmp_path / "a", make_ecg(0))
    damage(tmp_path / "a", fault)
    with pytest.raises(Rejected, match=f"^{reason}"):
        read_wfdb(str(tmp_path / "a"))


@pytest.mark.parametrize("change", [("12 500 5000", "12"), (" 16 ", " 999 "), ("a.dat 16", "a.dat"), ("12 500", "13 500")])
def test_odd_headers_never_crash(tmp_path, change):
    write_record(tmp_path / "a", make_ecg(0))
    header = tmp_path / "a.hea"
    header.write_text(header.read_text().replace(*change))
    try:
        to_row(read_wfdb(str(tmp_path / "a")))
    except Rejected as reason:
        assert str(reason).split(":")[0] in ("header", "unreadable", "truncated", "leads")


@settings(max_examples=30, deadline=None)
@given(junk=st.binary(max_size=200))
def test_junk_headers_never_crash(tmp_path_factory, junk):
    folder = tmp_path_factory.mktemp("junk")
    (folder / "a.hea").write_bytes(junk)
    with pytest.raises(Rejected):
        to_row(read_wfdb(str(folder / "a")))


def test_trouble_of_the_machine_stops_the_run(tmp_path, monkeypatch):
    def failing(path, *_, **__):
        raise OSError(errno.EIO, "Input/output error", path)

    write_record(tmp_path / "a", make_ecg(0))
    monkeypatch.setattr(np, "fromfile", failing)
    with pytest.raises(OSError, match="Input/output"):
        read_wfdb(str(tmp_path / "a"))
