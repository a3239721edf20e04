"""Mapped arrays hold what the file holds, cross to other processes as a file name, and notice a file that changed."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cmelt_plugin.data.store.memory_maps import BLOCK_BYTES, blocks, check_npz, map_npy, map_npz
from cmelt_plugin.errors import DataError


def resident_kb(path: Path) -> int:
    """Memory of this process that belongs to mappings of a file."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split(maxsplit=1)[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@settings(max_examples=40, deadline=None)
@given(
    array=st.sampled_from([np.int32, np.uint16, np.float64, ">i4"]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=1, max_dims=2, min_side=0), elements=st.integers(0, 9))
    ),
    data=st.data(),
)
def test_mapped_arrays_are_those_of_the_file(tmp_path_factory, array, data) -> None:
    folder = tmp_path_factory.mktemp("mapped")
    np.save(folder / "a.npy", array)
    np.savez(folder / "a.npz", other=np.arange(3), a=array)
    for mapped in (map_npy(folder / "a.npy"), map_npz(folder / "a.npz", "a")):
        np.testing.assert_array_equal(mapped.array, array)
        assert mapped.array.dtype == array.dtype and not mapped.array.flags.writeable
        start = data.draw(st.integers(0, array.size))
        stop = data.draw(st.integers(start, array.size))
        np.testing.assert_array_equal(mapped.slice(start, stop), array.ravel()[start:stop])
        assert mapped.slice(start, stop).flags.writeable and mapped.slice(start, stop).dtype == array.dtype
        indices = np.arange(start, stop)[::-1]
        np.testing.assert_array_equal(mapped.take(indices), array.ravel()[indices])
        assert mapped.take(indices).dtype == array.dtype
        again = pickle.loads(pickle.dumps(mapped))
        np.testing.assert_array_equal(again.array, array)
        np.testing.assert_array_equal(again.slice(start, stop), array.ravel()[start:stop])


@pytest.mark.parametrize(("n", "part"), [(5, 1 << 22), (3000, 1 << 22), (3000, 1000)])
def test_few_and_many_elements_are_taken_in_the_order_asked_for(tmp_path: Path, monkeypatch, n: int, part: int) -> None:
    monkeypatch.setattr("cmelt_plugin.data.store.memory_maps.BLOCK_BYTES", part)
    array = np.random.default_rng(0).integers(0, 1000, (50, 1000))
    np.save(tmp_path / "a.npy", array)
    mapped = map_npy(tmp_path / "a.npy")
    indices = np.random.default_rng(1).integers(0, array.size, n)
    np.testing.assert_array_equal(mapped.take(indices), array.ravel()[indices])
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:300])
    with pytest.raises(DataError, match="has changed while in use"):
        mapped.take(indices)


def test_what_cannot_be_mapped_is_left_to_numpy(tmp_path: Path) -> None:
    array = np.arange(6).reshape(2, 3)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(array))
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    np.savez_compressed(tmp_path / "a.npz", a=array)
    assert map_npy(tmp_path / "fortran.npy") is None and map_npy(tmp_path / "objects.npy") is None
    assert map_npz(tmp_path / "a.npz", "a") is None


def test_a_mapped_array_is_pickled_as_its_place(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(100_000))
    assert len(pickle.dumps(map_npy(tmp_path / "a.npy"))) < 1000


def test_a_relative_name_survives_a_change_of_folder(tmp_path: Path, monkeypatch) -> None:
    np.save(tmp_path / "a.npy", np.arange(5))
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(map_npy("a.npy"))
    monkeypatch.chdir(tmp_path.parent)
    assert pickle.loads(pickled).array.tolist() == [0, 1, 2, 3, 4]


def test_a_file_replaced_or_gone_before_a_worker_opens_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(5))
    mapped = map_npy(path)
    pickled = pickle.dumps(mapped)
    np.save(tmp_path / "b.npy", np.arange(5)[::-1])
    os.utime(tmp_path / "b.npy", ns=(1, 1))
    (tmp_path / "b.npy").replace(path)
    assert mapped.slice(0, 2).tolist() == [0, 1]  # who has it open keeps the old file
    with pytest.raises(DataError, match="a.npy: has changed while in use"):
        pickle.loads(pickled)
    for content in (b"short", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match="a.npy: has changed while in use"):
            pickle.loads(pickled)
    path.unlink()
    with pytest.raises(DataError, match="a.npy: gone while in use"):
        pickle.loads(pickled)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(50))
    mapped, whole = map_npy(path), path.read_bytes()
    os.truncate(path, len(whole) - 8)
    assert mapped.slice(48, 49).tolist() == [48]
    with pytest.raises(DataError, match="has changed while in use"):
        mapped.slice(48, 50)
    for length in (len(whole) - 8, 20, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError):
            map_npy(path)


def test_checksums_are_checked_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(5000), b=np.arange(5000))
    check_npz(path, "a")
    damaged = bytearray(path.read_bytes())
    damaged[10_000] ^= 1  # within a
    path.write_bytes(damaged)
    check_npz(path, "b")
    with pytest.raises(zipfile.BadZipFile):
        check_npz(path, "a")
    with pytest.raises(KeyError):
        map_npz(path, "c")


@pytest.mark.parametrize("shape", [(0,), (0, 4), (1, 4), (3 * BLOCK_BYTES // 16 + 5, 4)])
def test_blocks_are_the_whole_array(tmp_path: Path, shape) -> None:
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    parts = list(blocks(array))
    assert sum(len(part) for _, part in parts) == len(array)
    for start, part in parts:
        assert 0 < part.nbytes <= BLOCK_BYTES
        np.testing.assert_array_equal(part, array[start : start + len(part)])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_blocks_and_slices_leave_nothing_resident(tmp_path: Path) -> None:
    array = np.arange(4_000_000, dtype=np.int32)
    np.save(tmp_path / "a.npy", array)
    mapped = map_npy(tmp_path / "a.npy")
    assert sum(int(part.sum(dtype=np.int64)) for _, part in blocks(mapped.array, mapped)) == array.sum(dtype=np.int64)
    mapped.slice(10, 2000)
    assert resident_kb(tmp_path / "a.npy") == 0
    assert mapped.array[5] == 5  # what was forgotten comes back
    assert resident_kb(tmp_path / "a.npy") > 0
