"""MATLAB files: what SciPy reads of them, and sizes that are not believed."""

import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.arrays import ArrayReader
from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.readers.matlab import MatFile, Unsupported

READER = ArrayReader(LEADS, rate=500.0)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">f8"])
def test_arrays_of_all_types(tmp_path, dtype, compressed):
    for shape in ((12, 700), (1, 1), (0, 0), (3, 4, 5), (1, 9)):
        array = (np.random.default_rng(0).normal(0, 50, shape)).astype(dtype)
        savemat(tmp_path / "a.mat", {"first": "text", "x": array, "last": np.arange(3)}, do_compression=compressed)
        with MatFile(tmp_path / "a.mat") as file:
            found = file.read("x")
            assert file.arrays() == (["x", "last"] if array.size != 1 else ["last"])
        assert np.array_equal(found, loadmat(tmp_path / "a.mat")["x"]) and found.shape == shape


@pytest.mark.parametrize("dtype", ["f8", "f4", "i2", "u2", "i4", "u1"])
def test_version_4(tmp_path, dtype):
    array = np.random.default_rng(0).integers(0, 99, (12, 700)).astype(dtype)
    savemat(tmp_path / "a.mat", {"name": "text", "x": array, "n": 7.0}, format="4")
    with MatFile(tmp_path / "a.mat") as file:
        assert file.arrays() == ["x"] and np.array_equal(file.read("x"), array)
        assert file.read("name") == "text" and file.read("n") == [[7.0]]


def test_texts_and_structs(tmp_path):
    inner = {"sex": "Mädchen", "age": 61, "data": np.arange(24.0).reshape(12, 2), "more": {"deep": [1.0, 2.0]}}
    for compressed in (False, True):
        savemat(tmp_path / "a.mat", {"ECG": inner, "c": [[1, "a"]], "z": 1j * np.ones(3)}, do_compression=compressed)
        with MatFile(tmp_path / "a.mat") as file:
            found = file.read("ECG")
            assert found["sex"] == "Mädchen" and found["age"] == [[61]] and np.array_equal(found["data"], inner["data"])
            assert found["more"]["deep"].tolist() == [[1.0, 2.0]]
            assert file.read("z") == Unsupported("complex numbers") and file.arrays() == []
        with pytest.raises(Rejected, match="^unreadable: a.mat: z holds complex numbers, not numbers"):
            READER(f"{tmp_path / 'a.mat'}\tvariable=z")


def test_big_endian(tmp_path):
    numbers = np.arange(24, dtype=">f8").reshape(12, 2)
    data = numbers.tobytes(order="F")
    body = struct.pack(">4I", 6, 8, 6, 0) + struct.pack(">2I2i", 5, 8, 12, 2) + struct.pack(">HH4s", 1, 1, b"x\0\0\0")
    body += struct.pack(">2I", 9, len(data)) + data
    (tmp_path / "a.mat").write_bytes(b"MATLAB".ljust(124) + b"\x01\x00MI" + struct.pack(">2I", 14, len(body)) + body)
    assert np.array_equal(loadmat(tmp_path / "a.mat")["x"], numbers)
    assert np.array_equal(READER(str(tmp_path / "a.mat")).signal, numbers)


@pytest.mark.parametrize(
    "announced, reason",
    [
        (1 << 30, "large: a.mat: x has 1,073,741,824 bytes"),
        (152, "unreadable: a.mat: ValueError: 160 bytes or more where 160 should be"),
        ((1 << 29) - 8, "unreadable: a.mat: ValueError: 10,000,056 bytes or more where 536,870,912 should be"),
    ],
)
def test_what_is_compressed_may_not_grow_without_end(tmp_path, announced, reason):
    head = struct.pack("<2I", 14, announced) + struct.pack("<4I", 6, 8, 6, 0) + struct.pack("<2I2i", 5, 8, 12, 1)
    head += struct.pack("<HH4s", 1, 1, b"x\0\0\0") + struct.pack("<2I", 9, 96)
    packed = zlib.compress(head + bytes(10_000_000))
    (tmp_path / "a.mat").write_bytes(b"MATLAB".ljust(124) + b"\x00\x01IM" + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(Rejected, match=f"^{reason}"):
        READER(str(tmp_path / "a.mat"))


def test_damage_within_a_compressed_array_is_found(tmp_path):
    savemat(tmp_path / "a.mat", {"x": np.random.default_rng(0).normal(size=(12, 700))}, do_compression=True)
    data = bytearray((tmp_path / "a.mat").read_bytes())
    data[-3] ^= 1  # the stream's own checksum
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(Rejected, match="^unreadable: a.mat: error: Error -3 while decompressing data: incorrect data check"):
        READER(str(tmp_path / "a.mat"))
