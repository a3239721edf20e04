"""Whose fault a failure is, and what is never opened: the same for every reader there is."""

import errno
import os
import shutil
import socket

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.prepared_ecg import prepare_ecg
from cmelt_plugin.data.readers import contract
from cmelt_plugin.data.readers.arrays import ArrayReader
from cmelt_plugin.data.readers.challenge_files import (
    read_cpsc_mat,
    read_cpsc_mat_5s,
    read_cpsc_patient,
    read_header_patient,
    read_wfdb_5s,
)
from cmelt_plugin.data.readers.contract import Rejected, one_line, reader, with_reading
from cmelt_plugin.data.readers.wfdb_records import WRONG_CHECKSUM, read_wfdb
from cmelt_plugin.errors import DataError
from preprocess.code_test import read_tracing
from preprocess.data_sets.physionet2021_records import read_header, read_segment
from preprocess.packing.recording import SignalOptions, to_row
from tests.preprocess.mimic_layout import make_ecg, write_record

ARRAYS = ArrayReader(LEADS, rate=500.0)
# A reader, and the file that it opens first for the path "a".
READERS = {
    "wfdb header": (read_wfdb, "a.hea"),
    "wfdb samples": (read_wfdb, "a.dat"),
    "wfdb, 5 s": (read_wfdb_5s, "a.dat"),
    "segment": (lambda path: read_segment(f"{path}#0:10"), "a.dat"),
    "cpsc": (read_cpsc_mat, "a.mat"),
    "cpsc, 5 s": (read_cpsc_mat_5s, "a.mat"),
    "tracing": (lambda path: read_tracing(f"{path}.hdf5#0;{','.join(LEADS)};1"), "a.hdf5"),
    **{
        f"array {suffix}": (lambda path, suffix=suffix: ARRAYS(f"{path}{suffix}"), f"a{suffix}")
        for suffix in (".npy", ".npz", "_.mat", ".h5", ".csv", ".tsv", ".txt")
    },
}
PATIENTS = {
    "patient of a header": (read_header_patient, "a.hea"),
    "patient of a struct": (read_cpsc_patient, "a.mat"),
    "header": (lambda path: read_header(*os.path.split(path)), "a.hea"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A good file "a" for every reader."""
    folder = tmp_path_factory.mktemp("good")
    write_record(folder / "a", make_ecg(0), leads=LEADS)
    savemat(folder / "a.mat", {"ECG": {"sex": "Male", "age": 3, "data": make_ecg(0)}})
    savemat(folder / "a_.mat", {"val": make_ecg(0)})
    np.save(folder / "a.npy", make_ecg(0))
    np.savez(folder / "a.npz", make_ecg(0))
    for name in ("a.h5", "a.hdf5"):
        with h5py.File(folder / name, "w") as file:
            file["tracings"] = make_ecg(0).T[None]
    for suffix, separator in ((".csv", ","), (".tsv", "\t"), (".txt", " ")):
        np.savetxt(folder / f"a{suffix}", make_ecg(0).T[:900], delimiter=separator)
    return folder


@pytest.fixture
def good(written, tmp_path):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path


def make_folder(path):
    path.mkdir()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_loop(path):
    path.symlink_to(path.name)


def make_device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", READERS)
def test_good_files_are_read(written, name):
    recording = READERS[name][0](str(written / "a"))
    assert recording.signal.shape[0] == 12 and np.isfinite(recording.signal).all()


@pytest.mark.parametrize("name", [*READERS, *PATIENTS])
@pytest.mark.parametrize(
    "make, reason",
    [
        (None, "missing: a.*: No such file"),
        (make_folder, "unreadable: a.*: is a folder, not a file"),
        (os.mkfifo, "unreadable: a.*: is a FIFO, not a file"),
        (make_socket, "unreadable: a.*: is a socket, not a file"),
        (make_device, "unreadable: a.*: is a device, not a file"),
        (make_loop, "unreadable: a.*: Too many levels of symbolic links"),
    ],
)
def test_what_is_no_regular_file_is_never_opened(good, name, make, reason):
    read, file = {**READERS, **PATIENTS}[name]
    path = good / file
    path.unlink()
    if make is not None:
        make(path)
    if name in PATIENTS:
        read(str(good / "a"))  # unknown; the reader says why
        return
    with pytest.raises(Rejected, match=f"^{reason}"):
        read(str(good / "a"))


@pytest.mark.parametrize("name", [*READERS, *PATIENTS])
@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "y/" * 3000, "\udcff", "new\nline", "tab\tx=1"])
def test_paths_that_cannot_be(tmp_path, name, path):
    read, _ = {**READERS, **PATIENTS}[name]
    if name in PATIENTS:
        read(f"{tmp_path}/{path}")
        return
    with pytest.raises(Rejected, match="^(missing|unreadable): ") as caught:
        read(f"{tmp_path}/{path}")
    assert str(caught.value).isprintable() and str(caught.value).encode("utf-8") and len(str(caught.value)) < 330


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", READERS)
def test_files_that_may_not_be_read(good, name):
    read, file = READERS[name]
    (good / file).chmod(0)
    with pytest.raises(Rejected, match="^unreadable: a.*: Permission denied"):
        read(str(good / "a"))


@pytest.mark.parametrize("name", [*READERS, *PATIENTS])
@pytest.mark.parametrize(
    "trouble",
    [OSError(number, os.strerror(number)) for number in (5, 12, 23, 24, 28, 116)] + [MemoryError(), KeyboardInterrupt()],
)
def test_trouble_of_the_machine_stops_the_run(written, monkeypatch, name, trouble):
    def fail(path, *_, **__):
        raise trouble

    read, _ = {**READERS, **PATIENTS}[name]
    monkeypatch.setattr(contract.os, "stat", fail)
    with pytest.raises(type(trouble)) as caught:
        read(str(written / "a"))
    assert caught.value is trouble


@pytest.mark.parametrize("number, stops", [(errno.EIO, True), (errno.ESTALE, True), (errno.ENOENT, False), (0, False)])
def test_what_the_system_told_hdf5(tmp_path, number, stops):
    """HDF5's errors carry the number in their words only."""

    @reader
    def read(path):
        raise OSError(f"Can't read data (file read failed, filename = 'a.h5', errno = {number}, error message = 'x')")

    with pytest.raises(OSError if stops else Rejected) as caught:
        read("a.h5")
    assert not stops or caught.value.errno == number


@pytest.mark.parametrize("error", [ValueError, KeyError, IndexError, OverflowError, RecursionError, SystemError, TypeError])
def test_what_damaged_bytes_provoke_is_the_files_fault(error):
    @reader
    def read(path):
        raise error("two\nlines\x1b[31m " + "x" * 999)

    with pytest.raises(Rejected, match=rf"^unreadable: a.bin: {error.__name__}: ") as caught:
        read("/some/where/a.bin")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 330


@pytest.mark.parametrize("error", [AttributeError, NameError, AssertionError, ImportError])
def test_mistakes_of_this_program_are_not(error):
    @reader
    def read(path):
        raise error("oops")

    with pytest.raises(error):
        read("a.bin")


def test_only_readers_that_can_are_told_what_is_needed(written):
    options = SignalOptions(crop="centre", min_seconds=0)
    for name, (read, _) in READERS.items():
        part = with_reading(read, options.reading)(str(written / "a"))
        assert np.array_equal(to_row(part, options).digital, to_row(read(str(written / "a")), options).digital), name
    assert with_reading(len, options.reading) is len


def test_serving_uses_the_same_reader(good):
    tmp_path = good
    recording = read_wfdb(str(tmp_path / "a"))
    expected = prepare_ecg(recording.signal, recording.rate, recording.leads).ecg
    assert np.array_equal(prepare_ecg(tmp_path / "a.hea").ecg, expected)
    data = bytearray((tmp_path / "a.dat").read_bytes())
    data[1000] ^= 1
    (tmp_path / "a.dat").write_bytes(data)
    with pytest.raises(DataError, match=f"^{tmp_path}/a: checksum: a.dat, "):
        prepare_ecg(tmp_path / "a")
    assert prepare_ecg(tmp_path / "a", accept_wrong_checksums=True).doubts[0][0].text == WRONG_CHECKSUM
    (tmp_path / "a.dat").unlink()
    os.mkfifo(tmp_path / "a.dat")
    with pytest.raises(DataError, match="a: unreadable: a.dat: is a FIFO, not a file"):
        prepare_ecg(tmp_path / "a")


def test_one_line():
    assert one_line("a\n b\tc\x00\ud800") == "a b c\\x00\\ud800"
