"""Damaged files of every kind: each is read with the right shape, or refused in one line; nothing else, in little memory."""

import struct
import tracemalloc

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.arrays import ArrayReader
from cmelt_plugin.data.readers.challenge_files import read_cpsc_mat, read_cpsc_patient, read_header_patient
from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from preprocess.code_test import read_tracing
from preprocess.data_sets.physionet2021_records import read_header, read_segment, segments_of
from preprocess.packing.recording import SignalOptions, to_row
from tests.data.readers.test_wfdb_records import FORMATS, write_numbers

MEMORY = 40 << 20  # bytes that reading a file of a few kB may take
SAMPLES = 600
OPTIONS = SignalOptions(min_seconds=0.5, allow_flat_leads=11)
ARRAYS = ArrayReader(LEADS, rate=500.0)
TRACING = f"#0;{','.join(LEADS)};1"

# Fragments that have broken readers.
FRAGMENTS = [
    b"",
    b"\0",
    b"-",
    b"nan",
    b"inf",
    b"1e999",
    b"9" * 25,
    b"9" * 5000,
    b"99999999999",
    b"\n",
    b"\t",
    b"(",
    b"/",
    b"../",
    b"~",
    b"#",
    b"[" * 2000,
    b"(" * 2000,
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    bytes(64),
    "\u0665".encode(),
    b"\xb5V",
]


def ecg(seed=0):
    return np.random.default_rng(seed).normal(0, 0.5, (12, SAMPLES)).round(3)


def write_wfdb(folder, form, seed):
    top = 60 if form in (8, 80) else 200
    numbers = np.clip(np.rint(ecg(seed).T * top / 3), -top, top).astype(int)
    write_numbers(folder, numbers, form)
    header = folder / "a.hea"
    text = header.read_text().replace(" 360 ", " 500 ")
    for number, lead in reversed(list(enumerate(LEADS))):
        text = text.replace(f" x{number}\n", f" {lead}\n")
    header.write_text(text + "#Age: 61\n#Sex: Male\n#Dx: 426783006\n")


def write_text(folder, suffix, separator):
    lines = [LEADS, *([f"{value:.3f}" for value in row] for row in ecg().T)]
    (folder / f"a{suffix}").write_text("\n".join(separator.join(line) for line in lines) + "\n")


def write_hdf5(folder, name, **options):
    with h5py.File(folder / name, "w") as file:
        file.create_dataset("tracings", data=ecg().T[None], **options)
        file.create_group("other")["more"] = np.arange(4)


def write_mat73(folder):
    with h5py.File(folder / "a.mat", "w", userblock_size=512) as file:
        file["val"] = ecg().T
    with open(folder / "a.mat", "r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, HDF5 schema 1.00 .".ljust(116) + bytes(8) + b"\x00\x02IM")


def write_struct(folder, **options):
    savemat(folder / "a.mat", {"ECG": {"sex": "Male", "age": 61, "data": ecg()}}, **options)


def write_npz(folder, save):
    save(folder / "a.npz", val=ecg(), other=np.arange(3))


def read_all_segments(path):
    folder, name = path.rsplit("/", 1)
    segments = segments_of(read_header(folder, name), 5)
    assert len(segments) < 100
    return read_segment(f"{folder}/{segments[0].path}")


def read_patients(path):
    read_header_patient(path)
    return read_wfdb(path)


def read_struct(path):
    read_cpsc_patient(path)
    return read_cpsc_mat(path)


WFDB = lambda path: read_wfdb(path, OPTIONS.reading)  # noqa: E731
# Name: how files are written, the file that is damaged, how it is read.
KINDS = {
    **{f"wfdb {form}, header": (lambda f, form=form: write_wfdb(f, form, 0), "a.hea", WFDB) for form in (8, 16, 212)},
    **{f"wfdb {form}, samples": (lambda f, form=form: write_wfdb(f, form, 1), "a.dat", WFDB) for form in FORMATS},
    "wfdb, segments": (lambda f: write_wfdb(f, 16, 2), "a.hea", read_all_segments),
    "wfdb, patients": (lambda f: write_wfdb(f, 16, 2), "a.hea", read_patients),
    "mat 4": (lambda f: savemat(f / "a.mat", {"val": ecg()}, format="4"), "a.mat", lambda p: ARRAYS(f"{p}.mat")),
    "mat 5": (lambda f: savemat(f / "a.mat", {"val": ecg(), "fs": 500}), "a.mat", lambda p: ARRAYS(f"{p}.mat")),
    "mat 5, compressed": (
        lambda f: savemat(f / "a.mat", {"val": ecg()}, do_compression=True),
        "a.mat",
        lambda p: ARRAYS(f"{p}.mat"),
    ),
    "mat 7.3": (write_mat73, "a.mat", lambda p: ARRAYS(f"{p}.mat")),
    "struct": (write_struct, "a.mat", read_struct),
    "struct, compressed": (lambda f: write_struct(f, do_compression=True), "a.mat", read_struct),
    "npy": (lambda f: np.save(f / "a.npy", ecg()), "a.npy", lambda p: ARRAYS(f"{p}.npy")),
    "npz": (lambda f: write_npz(f, np.savez), "a.npz", lambda p: ARRAYS(f"{p}.npz\tvariable=val")),
    "npz, compressed": (lambda f: write_npz(f, np.savez_compressed), "a.npz", lambda p: ARRAYS(f"{p}.npz\tvariable=val")),
    "hdf5": (lambda f: write_hdf5(f, "a.h5"), "a.h5", lambda p: ARRAYS(f"{p}.h5\tvariable=tracings\trow=0")),
    "hdf5, chunks": (
        lambda f: write_hdf5(f, "a.h5", chunks=(1, 100, 12), compression="gzip", shuffle=True),
        "a.h5",
        lambda p: ARRAYS(f"{p}.h5\tvariable=tracings"),
    ),
    "code-test": (lambda f: write_hdf5(f, "a.h5"), "a.h5", lambda p: read_tracing(f"{p}.h5{TRACING}")),
    "csv": (lambda f: write_text(f, ".csv", ","), "a.csv", lambda p: ARRAYS(f"{p}.csv")),
    "tsv": (lambda f: write_text(f, ".tsv", "\t"), "a.tsv", lambda p: ARRAYS(f"{p}.tsv")),
    "txt": (lambda f: write_text(f, ".txt", " "), "a.txt", lambda p: ARRAYS(f"{p}.txt")),
}


def damaged(data, random):
    """Bytes with one to three changes: flips, fragments put in or over, parts cut out, doubled or moved, numbers replaced."""
    data = bytearray(data)
    for _ in range(random.integers(1, 4)):
        # Headers are at the beginning.
        size = max(1, min(len(data), int(random.choice([64, 512, *[len(data)] * 3]))))
        place = int(random.integers(size))
        kind = int(random.integers(7))
        length = int(random.choice([1, 2, 4, 8, 64, 1000]))
        fragment = FRAGMENTS[random.integers(len(FRAGMENTS))]
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[place:place] = fragment
        elif kind == 2:
            data[place : place + len(fragment)] = fragment
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            del data[int(random.integers(len(data) + 1)) :]
        elif kind == 5:
            data[place:place] = data[place : place + length]
        else:
            value = int(random.choice([0, 1, -1, 2**31 - 1, -(2**31), 2**16, 10**9]))
            data[place : place + 4] = struct.pack(random.choice(["<i", ">i"]), value)
    return bytes(data)


def measured(read, path):
    """What ``read`` gives of ``path``, having taken little memory, be it read or refused."""
    tracemalloc.start()
    try:
        return read(path)
    except Rejected as reason:
        assert str(reason).isprintable() and len(str(reason)) < 330
        raise
    finally:
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert taken < MEMORY, f"took {taken:,} bytes"


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(battery, tmp_path, kind):
    write, name, read = KINDS[kind]
    write(tmp_path)
    file, path = tmp_path / name, str(tmp_path / "a")
    good = file.read_bytes()
    intact = read(path).signal
    assert intact.shape == (12, SAMPLES) and np.isfinite(intact).all()
    for attack in battery(f"damaged files: {kind}", inputs=20, long=2000, refusals=(Rejected,)):
        with attack:
            file.write_bytes(damaged(good, attack.random))
            recording = measured(read, path)
            row = to_row(recording, OPTIONS)
            right = row.digital.shape == (12, 5000)
            if "samples" in kind:  # the checksums are the intact file's
                right &= same_sums(recording.signal, intact)
            attack.expect(right, "other numbers under the checksums of the header")


def same_sums(signal, intact):
    """Equal, or different by a damage to which the sum of all numbers modulo 2**16 is blind."""
    if np.array_equal(signal, intact):
        return True
    sums = (np.rint(np.nan_to_num(values) * 200 + 3).astype(np.int64).sum(axis=1) & 0xFFFF for values in (signal, intact))
    return not np.isnan(signal).any() and np.array_equal(*sums)
