"""Damaged arrays are a ValueError before anything they announce is allocated."""

from __future__ import annotations

import numpy as np
import pytest

from cmelt_plugin.data.store.memory_maps import map_npz
from cmelt_plugin.data.store.npy_files import read_npy, read_npz


@pytest.mark.parametrize(
    "array", [np.arange(6, dtype=np.int16).reshape(2, 3), np.float32(3.5), np.zeros((0, 4)), np.array([True])]
)
def test_arrays_come_back(tmp_path, array) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", a=array, b=array)
    for found in (read_npy(tmp_path / "a.npy"), read_npz(tmp_path / "a.npz")["b"]):
        assert found.dtype == array.dtype and np.array_equal(found, array)
    assert set(read_npz(tmp_path / "a.npz", without=["a"])) == {"b"}


def header(shape) -> dict:
    return {"descr": "<f4", "fortran_order": False, "shape": shape}


@pytest.mark.parametrize("shape", [(10**9, 10**9), (2**62, 2**62), (-1, 4), (3,)])
def test_sizes_that_are_not_there(tmp_path, shape) -> None:
    with open(tmp_path / "a.npy", "wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header(shape))
        handle.write(bytes(8))
    with pytest.raises(ValueError, match="announces|damaged header"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x04\x00{(}[",
        b"\x93NUMPY\x01\x00\x08\x00'" + b"\x00" * 7,
        b"\x93NUMPY\x09\x00\x04\x00{  }",
        b"\x93NUMPY\x01\x00\xff\xff{" + b"[" * 65000,
    ],
)
def test_headers_that_are_none(tmp_path, data) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ValueError):
        read_npy(tmp_path / "a.npy")


def test_objects_are_refused(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.array([None]), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([None]))
    with pytest.raises(ValueError):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(ValueError):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("seed", range(40))
def test_damaged_archives(tmp_path, seed) -> None:
    np.savez(tmp_path / "a.npz", ids=np.arange(50, dtype=np.int32), info=np.zeros(9, np.uint8))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(data), 3):
        data[place] = random.integers(256)
    (tmp_path / "a.npz").write_bytes(data)
    for read in (read_npz, lambda path: map_npz(path, "ids")):
        try:
            read(tmp_path / "a.npz")
        except (ValueError, KeyError):
            pass
        except Exception as error:
            import struct
            import zipfile
            import zlib

            assert isinstance(error, (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError))


def test_an_archive_whose_directory_points_before_its_beginning(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", ids=np.arange(50))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[1:])
    with pytest.raises(ValueError, match="damaged"):
        read_npz(tmp_path / "a.npz")
