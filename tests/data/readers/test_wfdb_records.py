"""WFDB records: the numbers of the documentation and of the wfdb package, and a reason for every file that cannot be read."""

import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers import wfdb_records, wfdb_samples
from cmelt_plugin.data.readers.contract import ALL, Crop, Reading, Rejected, Span
from cmelt_plugin.data.readers.wfdb_header import NO_LENGTH, NO_UNIT
from cmelt_plugin.data.readers.wfdb_records import (
    EMPTY_CHECKSUM,
    NO_CHECKSUM,
    OTHER_FIRST,
    UNVERIFIED,
    WRONG_CHECKSUM,
    read_wfdb,
)
from preprocess.packing.recording import SignalOptions, to_row
from tests.preprocess.mimic_layout import MIMIC_LEADS, damage, make_ecg, write_record


def same_as_wfdb(path):
    ours, theirs = read_wfdb(str(path)), wfdb.rdrecord(str(path))
    assert np.array_equal(ours.signal.T, theirs.p_signal, equal_nan=True)
    assert list(ours.leads) == theirs.sig_name and list(ours.units) == theirs.units and ours.rate == theirs.fs


@pytest.mark.parametrize(
    "change",
    [
        (" 16 1000.0(0)/mV", " 16 1000.0(0)/mV"),
        (" 16 1000.0(0)/mV", " 16 204.8(-17)/mV"),
        (" 16 1000.0(0)/mV", " 16 1e3(0)/mV"),
        (" 16 1000.0(0)/mV", "\t16\t1000./mV"),
        ("(0)/mV 16 0", "/mV 16 30"),
        (" 16 1000", " 16x1 1000"),
        (" 16 1000", " 16x1:0+0 1000"),
        ("12 500 5000", "12 500/360(17) 5000"),
        ("12 500 5000", "12 499.5 5000 10:00:00 01/01/2000"),
    ],
)
def test_headers_of_all_forms(tmp_path, change):
    ecg = make_ecg(0)
    ecg[3, 5:9] = np.nan
    write_record(tmp_path / "a", ecg)
    data, header = tmp_path / "a.dat", tmp_path / "a.hea"
    data.write_bytes(data.read_bytes() + bytes(24))
    assert change[0] in header.read_text()
    header.write_text("# comment\n\n" + header.read_text().replace(*change) + "#Age: 5\n")
    same_as_wfdb(tmp_path / "a")


FORMATS = (8, 16, 24, 32, 61, 80, 160, 212, 310, 311)
BITS = {8: 7, 16: 16, 24: 24, 32: 32, 61: 16, 80: 8, 160: 16, 212: 12, 310: 10, 311: 10}


def encode(numbers, form):
    """Signal file of int [samples, signals], from the documentation's words: https://physionet.org/physiotools/wag/signal-5.htm"""
    flat = [int(number) for number in numbers.reshape(-1)]
    if form == 8:
        return np.diff(numbers, axis=0, prepend=numbers[:1]).astype("i1").tobytes()
    if form in (16, 32):
        return b"".join(number.to_bytes(form // 8, "little", signed=True) for number in flat)
    if form == 24:
        return b"".join(number.to_bytes(3, "little", signed=True) for number in flat)
    if form == 61:
        return b"".join(number.to_bytes(2, "big", signed=True) for number in flat)
    if form in (80, 160):
        size = form // 80
        return b"".join((number + (1 << (8 * size - 1))).to_bytes(size, "little") for number in flat)
    if form == 212:
        pairs = zip(flat[0::2], [*flat[1::2], 0])
        data = b"".join(bytes([a & 255, (a >> 8 & 15) | (b >> 8 & 15) << 4, b & 255]) for a, b in pairs)
        return data[:-1] if len(flat) % 2 else data
    padded = flat + [0] * (-len(flat) % 3)
    data = b""
    for a, b, c in zip(padded[0::3], padded[1::3], padded[2::3]):
        a, b, c = (number & 0x3FF for number in (a, b, c))
        if form == 310:
            words = (a << 1 | (c & 0x1F) << 11, b << 1 | (c >> 5) << 11)
            data += b"".join(word.to_bytes(2, "little") for word in words)
        else:
            data += (a | b << 10 | c << 20).to_bytes(4, "little")
    rest = len(flat) % 3
    return data[: len(data) - 4 + {0: 4, 1: 2, 2: 4 if form == 310 else 3}[rest]]


def write_numbers(folder, numbers, form, name="a", samples=None, frames=None):
    """A record of int [samples, signals] with checksums, gain 200/mV, leads x0, x1, ..."""
    count = numbers.shape[1]
    (folder / f"{name}.dat").write_bytes(encode(numbers, form))
    lines = [f"{name} {count} 360 {len(numbers) if samples is None else samples}"]
    for column in range(count):
        line = numbers[:, column].astype(np.int64)
        lines.append(f"{name}.dat {form} 200(3)/mV 12 0 {line[0]} {(line.sum() + 32768) % 65536 - 32768} 0 x{column}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("signals, samples", [(1, 1), (1, 100), (2, 101), (3, 1000), (12, 999)])
def test_every_format(tmp_path, form, signals, samples):
    generator = np.random.default_rng(form)
    top = 1 << (BITS[form] - 1)
    numbers = generator.integers(-top + 1, top, (samples, signals))
    if form == 8:
        numbers = np.cumsum(numbers // 2, axis=0) + 1000
    else:
        numbers[0, 0], numbers[-1, -1] = top - 1, 1 - top
        numbers[samples // 2, 0] = -top  # "no value"
    write_numbers(tmp_path, numbers, form)
    expected = (numbers.T - 3) / 200
    if form != 8:
        expected[numbers.T == -top] = np.nan
    path = str(tmp_path / "a")
    assert np.array_equal(read_wfdb(path).signal, expected, equal_nan=True)
    same_as_wfdb(path)
    for start, stop in ((0, samples), (samples // 3, samples // 2), (samples - 1, samples), (7, 7)):
        if stop <= samples:
            part = read_wfdb(path, Reading(Span(start, stop)))
            assert np.array_equal(part.signal, expected[:, start:stop], equal_nan=True) and part.samples is None
    header = tmp_path / "a.hea"
    header.write_text(header.read_text().replace(f"360 {samples}\n", "360\n"))
    found = read_wfdb(path)
    if form not in (212, 310, 311):  # bits left over may be one sample more
        assert np.array_equal(found.signal, expected, equal_nan=True)
    assert np.array_equal(found.signal[:, :samples], expected, equal_nan=True) and found.notes == (NO_LENGTH,)
    data = tmp_path / "a.dat"
    header.write_text(header.read_text().replace("360\n", f"360 {samples}\n"))
    size = data.stat().st_size
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(Rejected, match=f"^truncated: a.dat has {size - 1} bytes where the header announces {size}"):
        read_wfdb(path)


@pytest.mark.parametrize("form", FORMATS)
def test_long_files_are_read_in_chunks(tmp_path, monkeypatch, form):
    numbers = np.random.default_rng(0).integers(-60, 60, (1001, 5))
    write_numbers(tmp_path, numbers, form)
    whole = read_wfdb(str(tmp_path / "a")).signal
    monkeypatch.setattr(wfdb_samples, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(wfdb_records, "CHUNK_BYTES", 1000)
    assert np.array_equal(read_wfdb(str(tmp_path / "a")).signal, whole)
    for start, stop in ((0, 1), (35, 700), (990, 1001), (500, 500)):
        assert np.array_equal(read_wfdb(str(tmp_path / "a"), Reading(Span(start, stop))).signal, whole[:, start:stop])
    change_number(tmp_path)
    wfdb_records._sums.cache_clear()
    with pytest.raises(Rejected, match="^checksum: "):
        read_wfdb(str(tmp_path / "a"), Reading(Span(0, 1)))


def change_number(folder, name="a"):
    data = bytearray((folder / f"{name}.dat").read_bytes())
    data[len(data) // 2 // 12 * 12] ^= 4  # the low byte of a number, in every format: checksums have 16 bits
    (folder / f"{name}.dat").write_bytes(data)


@pytest.mark.parametrize("form", FORMATS)
def test_wrong_checksums(tmp_path, form):
    numbers = np.random.default_rng(1).integers(-60, 60, (500, 2))
    write_numbers(tmp_path, numbers, form)
    path, header = str(tmp_path / "a"), tmp_path / "a.hea"
    assert read_wfdb(path).notes == ()
    change_number(tmp_path)
    with pytest.raises(Rejected, match=r"^checksum: a.dat, x\d: checksum \d+ in the header, \d+ of the samples"):
        read_wfdb(path)
    assert read_wfdb(path, Reading(accept_wrong_checksums=True)).notes == (WRONG_CHECKSUM,)
    lines = header.read_text().splitlines()
    header.write_text("\n".join([lines[0], *(" ".join(line.split()[:5]) for line in lines[1:])]))
    if form == 8:
        with pytest.raises(Rejected, match="^header: a.dat: format 8 holds differences and needs initial values"):
            read_wfdb(path)
    else:
        assert read_wfdb(path).notes == (NO_CHECKSUM,)
        header.write_text("\n".join([lines[0], *(" ".join(line.split()[:5]) + " 0 0 0 x" for line in lines[1:])]))
        assert read_wfdb(path).notes == (EMPTY_CHECKSUM,)


def test_initial_values(tmp_path):
    """Real records have wrong ones whose checksums are right; without a checksum they are all there is to go by."""
    write_numbers(tmp_path, np.arange(7, 507).reshape(250, 2), 16)
    path, header = str(tmp_path / "a"), tmp_path / "a.hea"
    header.write_text(header.read_text().replace(" 12 0 7 ", " 12 0 9 "))
    assert read_wfdb(path).notes == (OTHER_FIRST,)
    lines = header.read_text().splitlines()
    header.write_text("\n".join([lines[0], *(" ".join(line.split()[:6]) for line in lines[1:])]))
    with pytest.raises(Rejected, match="^checksum: a.dat, a signal: initial value 9 in the header, 7 in the file"):
        read_wfdb(path)


def test_too_long_to_be_verified(tmp_path, monkeypatch):
    monkeypatch.setattr(wfdb_records, "LONGEST_VERIFIED", 100)
    write_numbers(tmp_path, np.arange(500).reshape(250, 2), 16)
    change_number(tmp_path)
    assert read_wfdb(str(tmp_path / "a")).notes == (UNVERIFIED,)


def test_unknown_formats_are_refused_by_name(tmp_path):
    write_numbers(tmp_path, np.zeros((100, 2), dtype=int), 16)
    header = tmp_path / "a.hea"
    header.write_text(header.read_text().replace("dat 16 ", "dat 17 "))
    with pytest.raises(Rejected, match="^format: a.dat: WFDB signal format 17 is not read"):
        read_wfdb(str(tmp_path / "a"))


def test_flac(tmp_path):
    pytest.importorskip("soundfile")
    for form in ("508", "516", "524"):
        ecg = make_ecg(3, leads=3) * 0.1
        options = {"fs": 500, "units": ["mV"] * 3, "sig_name": ["I", "II", "III"], "fmt": [form] * 3}
        wfdb.wrsamp("a", p_signal=ecg.T, adc_gain=[200.0] * 3, baseline=[5] * 3, write_dir=str(tmp_path), **options)
        same_as_wfdb(tmp_path / "a")
        whole = read_wfdb(str(tmp_path / "a")).signal
        assert np.array_equal(read_wfdb(str(tmp_path / "a"), Reading(Span(17, 99))).signal, whole[:, 17:99])
        (tmp_path / "a.dat").write_bytes((tmp_path / "a.dat").read_bytes()[:-500])
        with pytest.raises(Rejected, match="^(truncated|unreadable|checksum): "):
            read_wfdb(str(tmp_path / "a"))


def test_signals_in_several_files_frames_and_skew(tmp_path):
    fast = np.random.default_rng(2).integers(-99, 99, (400, 1))
    slow = np.random.default_rng(3).integers(-99, 99, (100, 2))
    (tmp_path / "f.dat").write_bytes(encode(fast, 212))
    (tmp_path / "s.dat").write_bytes(encode(slow, 16))
    lines = ["a 3 360 100", f"s.dat 16:5 200/mV 12 0 {slow[0, 0]} {slow[:, 0].sum()} 0 x"]
    lines += [f"f.dat 212x4 100/mV 12 0 {fast[0, 0]} {fast.sum()} 0 y", "s.dat 16 200/mV 12 0 0 0 0 z"]
    lines[3] = f"s.dat 16 200/mV 12 0 {slow[0, 1]} {slow[:, 1].sum()} 0 z"
    (tmp_path / "a.hea").write_text("\n".join(lines))
    found = read_wfdb(str(tmp_path / "a"))
    assert found.leads == ["x", "y", "z"] and found.notes == ()
    expected = np.stack([np.r_[slow[5:, 0] / 200, [np.nan] * 5], fast.reshape(100, 4).mean(axis=1) / 100, slow[:, 1] / 200])
    assert np.allclose(found.signal, expected, equal_nan=True, atol=1e-12)
    part = read_wfdb(str(tmp_path / "a"), Reading(Span(20, 97)))
    assert np.allclose(part.signal, expected[:, 20:97], equal_nan=True, atol=1e-12)


def write_segments(folder, samples="250"):
    for index in range(2):
        write_numbers(folder, np.random.default_rng(index).integers(-99, 99, (100, 2)), 16, f"s{index}")
    (folder / "m.hea").write_text(f"m/3 2 360 {samples}\ns0 100\n~ 50\ns1 100\n")


def test_multi_segment_records(tmp_path):
    write_segments(tmp_path)
    first, second = (read_wfdb(str(tmp_path / name)).signal for name in ("s0", "s1"))
    expected = np.concatenate([first, np.full((2, 50), np.nan), second], axis=1)
    found = read_wfdb(str(tmp_path / "m"))
    assert np.array_equal(found.signal, expected, equal_nan=True) and found.leads == ["x0", "x1"] and found.rate == 360
    part = read_wfdb(str(tmp_path / "m"), Reading(Span(90, 160)))
    assert np.array_equal(part.signal, expected[:, 90:160], equal_nan=True)
    change_number(tmp_path, "s1")
    assert read_wfdb(str(tmp_path / "m"), Reading(Span(0, 120))).signal.shape == (2, 120)
    with pytest.raises(Rejected, match="^checksum: s1.dat"):
        read_wfdb(str(tmp_path / "m"))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("m/3 2 360 999\ns0 100\n~ 50\ns1 100\n", "header: m.hea announces 999 samples in segments of 250"),
        ("m/2 2 360\ns0 100\n~ 50\ns1 100\n", "header: m.hea announces 2 segments and lists 3"),
        ("m/1 2 360\n~ 50\n", "header: m.hea: all segments are gaps"),
        ("m/1 2 360\nm 50\n", "header: m.hea, a segment: has segments itself"),
        ("m/1 2 500\ns0 100\n", "header: s0.hea, a segment: 360 Hz, not 500 Hz"),
        ("m/1 2 360\ns0 101\n", "header: s0.hea: 100 samples, 101 in m.hea"),
        ("m/1 2 360\n../s0 100\n", "header: m.hea: '../s0 100' does not name a segment"),
        ("m/2 2 360\ns0 100\n~ 99999999999999999\n", "large: m: "),
    ],
)
def test_faulty_multi_segment_records(tmp_path, text, reason):
    write_segments(tmp_path)
    (tmp_path / "m.hea").write_text(text)
    with pytest.raises(Rejected, match=f"^{reason}"):
        read_wfdb(str(tmp_path / "m"))


@pytest.mark.parametrize(
    "change, reason",
    [
        (("12 500 5000", "12"), "rate: a.hea gives no sample rate (WFDB programs would assume 250 Hz)"),
        *(
            (("12 500 5000", f"12 {rate} 5000"), f"rate: a.hea: '{rate}' is no sample rate")
            for rate in ("-500", "abc", "0", "0.0", "nan", "inf", "1e999", "500Hz", "٥٠٠")
        ),
        (("12 500", "13 500"), "header: a.hea announces 13 signals and describes 12"),
        (("12 500", "11 500"), "header: a.hea announces 11 signals and describes 12"),
        (("12 500", "0 500"), "header: a.hea announces 0 signals"),
        (("12 500", "-1 500"), "header: a.hea announces -1 signals"),
        (("12 500", "9" * 5000 + " 500"), "header: a.hea does not begin with a record line"),
        (("500 5000", "500 -5000"), "header: a.hea: -5000 samples"),
        (("500 5000", "500 5e3"), "header: a.hea: number of samples: '5e3' is no whole number"),
        (("500 5000", "500 " + "5" * 5000), "header: a.hea: number of samples: '555"),
        (("500 5000", "500 5001"), "truncated: a.dat has 120000 bytes where the header announces 120024"),
        (("500 5000", f"500 {10**17}"), "truncated: a.dat has 120000 bytes where"),
        ((" 1000.0(0)/mV", " 0/mV"), "gain: a.hea, signal 1: 0, not calibrated (WFDB programs would assume 200 per mV)"),
        ((" 1000.0(0)/mV", " 1e-7/mV"), "gain: a.hea, signal 1: 1e-07 numbers per unit"),
        ((" 1000.0(0)/mV", " 1e300/mV"), "gain: a.hea, signal 1: 1e+300 numbers per unit"),
        *(
            ((" 1000.0(0)/mV", f" {gain}/mV"), f"gain: a.hea, signal 1: '{gain}/mV' is no gain and unit")
            for gain in ("-200", "nan", "inf", "abc", "1000(0", "1000(1.5)", "1000(99999999999999999999)", "(0)")
        ),
        ((" 1000.0(0)/mV", " 1000(99999999999)/mV"), "header: a.hea, signal 1: baseline 99999999999"),
        ((" 1000.0(0)/mV 16", " 1000.0(0)/mV x"), "header: a.hea, signal 1: ADC resolution: 'x' is no whole number"),
        ((" 16 0 ", " 16 0.5 "), "header: a.hea, signal 1: ADC zero: '0.5' is no whole number"),
        (("a.dat 16", "a.dat"), "header: a.hea, signal 1: 'a.dat 1000.0(0)/mV"),
        (("a.dat 16", "a.dat 16x0"), "header: a.hea, signal 1: 0 samples per frame"),
        (("a.dat 16", "a.dat 16x99999999"), "header: a.hea, signal 1: 99999999 samples per frame"),
        (("a.dat 16", "a.dat 16+9999999999"), "truncated: a.dat has 120000 bytes where"),
        (("a.dat 16", "a.dat 999"), "format: a.dat: WFDB signal format 999 is not read"),
        (("a.dat 16", "../a.dat 16"), "header: a.hea, signal 1: '../a.dat' is no file beside the header"),
        (("a.dat 16", "- 16"), "header: a.hea, signal 1: '-' is no file beside the header"),
    ],
)
def test_headers_that_are_refused(tmp_path, change, reason):
    write_record(tmp_path / "a", make_ecg(0))
    header = tmp_path / "a.hea"
    assert change[0] in header.read_text()
    header.write_text(header.read_text().replace(*change), encoding="utf-8")
    with pytest.raises(Rejected, match=f"^{re.escape(reason)}") as caught:
        read_wfdb(str(tmp_path / "a"))
    assert len(str(caught.value)) < 330 and "\n" not in str(caught.value)


def test_a_gain_that_is_missing_is_refused_and_a_unit_noted(tmp_path):
    write_record(tmp_path / "a", make_ecg(0))
    header = tmp_path / "a.hea"
    text = header.read_text()
    header.write_text(text.replace("/mV", ""))
    recording = read_wfdb(str(tmp_path / "a"))
    assert recording.notes == (NO_UNIT,) and set(recording.units) == {"mV"}
    assert to_row(recording).notes == (NO_UNIT,)
    lines = text.splitlines()
    header.write_text("\n".join([lines[0], "a.dat 16", *lines[2:]]))
    with pytest.raises(Rejected, match=r"^gain: a.hea, signal 1: not given \(WFDB programs would assume 200 per mV\)"):
        read_wfdb(str(tmp_path / "a"))


@pytest.mark.parametrize("where", ["start", "centre"])
def test_only_the_part_that_is_needed_is_read(tmp_path, where):
    """A sparse file of 2.4 GB: reading all of it would take 9.6 GB."""
    samples = 100_000_000
    (tmp_path / "a.dat").touch()
    os.truncate(tmp_path / "a.dat", samples * 24)
    leads = "".join(f"a.dat 16 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    (tmp_path / "a.hea").write_text(f"a 12 500 {samples}\n{leads}")
    tracemalloc.start()
    try:
        recording = read_wfdb(str(tmp_path / "a"), Reading(Crop(10.0, where)))
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert recording.signal.shape == (12, 5000) and recording.samples == samples and recording.notes == (UNVERIFIED,)
    with pytest.raises(Rejected, match="^large: a: 1,200,000,000 samples at once"):
        read_wfdb(str(tmp_path / "a"))


@pytest.mark.parametrize("where", ["start", "centre"])
@pytest.mark.parametrize("samples, rate", [(4000, 500.0), (5000, 500.0), (7001, 500.0), (2601, 257.0), (9999, 999.9)])
def test_the_part_gives_the_row_of_the_whole(tmp_path, where, samples, rate):
    write_record(tmp_path / "a", make_ecg(4, samples / rate, rate), rate)
    options = SignalOptions(crop=where)
    whole, part = (to_row(read_wfdb(str(tmp_path / "a"), reading), options) for reading in (ALL, options.reading))
    assert np.array_equal(whole.digital, part.digital) and whole.n_samples == part.n_samples
    with pytest.raises(Rejected, match=f"^short: {samples / rate:.2f} s, at least 60 s are needed"):
        to_row(read_wfdb(str(tmp_path / "a"), options.reading), SignalOptions(crop=where, min_seconds=60))


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
    assert np.abs(to_row(read_wfdb(str(tmp_path / "a"))).digital * 0.001 - _canonical(ecg)).max() <= 0.001


def test_volts_stay_volts(tmp_path):
    ecg = make_ecg(8)
    write_record(tmp_path / "a", ecg / 1000, unit="V", gain=1e6)
    assert np.abs(to_row(read_wfdb(str(tmp_path / "a"))).digital * 0.001 - _canonical(ecg)).max() <= 0.001


def _canonical(ecg):
    return ecg[[MIMIC_LEADS.index(lead) for lead in LEADS]]


@pytest.mark.parametrize(
    "fault, reason",
    [
        ("truncated", "truncated: a.dat has 119000 bytes where the header announces 120000"),
        ("missing_dat", "missing: a.dat: No such file"),
        ("wrong_name", "missing: elsewhere.dat: No such file"),
        ("missing_header", "missing: a.hea: No such file"),
        ("garbage_header", "header: a.hea does not begin with a record line"),
    ],
)
def test_damaged_files(tmp_path, fault, reason):
    write_record(tmp_path / "a", make_ecg(0))
    damage(tmp_path / "a", fault)
    with pytest.raises(Rejected, match=f"^{reason}"):
        read_wfdb(str(tmp_path / "a"))


@settings(max_examples=30, deadline=None)
@given(junk=st.binary(max_size=200))
def test_junk_headers_never_crash(tmp_path_factory, junk):
    folder = tmp_path_factory.mktemp("junk")
    (folder / "a.hea").write_bytes(junk)
    with pytest.raises(Rejected):
        to_row(read_wfdb(str(folder / "a")))
