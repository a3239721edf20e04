"""Read-only arrays that stay in their file, where the system's page cache holds them once for all processes."""

from __future__ import annotations

import mmap
import os
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from cmelt_plugin.data.npy_header import read_header
from cmelt_plugin.errors import DataError

BLOCK_BYTES = 1 << 22


class MappedArray:
    """An array within a file. Pickled as its location, path and offset, so that data-loader workers map it themselves.

    A few numbers are better read with :meth:`slice` and :meth:`take`: touching a byte of ``array`` can make 2 MB of the
    file count as the process's own memory.

    Attributes:
        array: the mapped array; the memory behind it may be unaligned.

    Args:
        path: the file.
        dtype: of the array, in any byte order.
        shape: of the array, C order.
        offset: where it begins, in bytes.

    Raises:
        ValueError: the file ends before the array does, or the array would hold Python objects.
    """

    _version: tuple[int, int] | None  # size and time of the file as it was opened

    def __init__(self, path: str | os.PathLike, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> None:
        self._location = (os.path.abspath(path), np.dtype(dtype), tuple(shape), offset)
        self._open()

    def _open(self) -> None:
        path, dtype, shape, offset = self._location
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._descriptor)
        status = os.fstat(self._descriptor)
        self._version = (status.st_size, status.st_mtime_ns)
        self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        try:
            self.array = np.ndarray(shape, dtype, buffer=self._map, offset=offset)
        except TypeError as error:  # the buffer is too small
            raise ValueError(str(error)) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self._location, "version": self._version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._location, self._version = state["location"], None
        try:
            self._open()
        except OSError as error:
            raise DataError(f"{self._location[0]}: gone while in use ({error}); start again") from None
        except ValueError:
            pass  # too short
        if self._version != state["version"]:
            raise DataError(f"{self._location[0]}: has changed while in use; start again")

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Elements ``start`` to ``stop`` of the flattened array, a copy. Raises DataError when the file was cut since."""
        return np.frombuffer(self._read(start, stop), self._location[1]).copy()

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Elements of the flattened array at int ``indices [m]``, a copy. Raises DataError like :meth:`slice`."""
        indices = np.asarray(indices)
        _, dtype, shape, _ = self._location
        size = int(np.prod(shape))
        if len(indices) * mmap.PAGESIZE >= size * dtype.itemsize:  # nearly every page is needed: one after the other
            return self._take_by_scanning(indices, size)
        data = b"".join([self._read(index, index + 1) for index in indices.tolist()])
        return np.frombuffer(data, dtype).copy()

    def _take_by_scanning(self, indices: np.ndarray, size: int) -> np.ndarray:
        """Read the whole array in parts of a few megabytes, keeping what is asked for."""
        dtype = self._location[1]
        order = np.argsort(indices)
        taken = np.empty(len(indices), dtype)
        part = max(1, BLOCK_BYTES // dtype.itemsize)
        bounds = np.searchsorted(indices, np.arange(0, size + part, part), sorter=order)
        for number, (begin, end) in enumerate(zip(bounds[:-1], bounds[1:])):
            if begin < end:
                chosen, start = order[begin:end], number * part
                values = np.frombuffer(self._read(start, min(start + part, size)), dtype)
                taken[chosen] = values[indices[chosen] - start]
        return taken

    def _read(self, start: int, stop: int) -> bytes:
        path, dtype, _, offset = self._location
        if not hasattr(os, "pread"):
            return self.array.reshape(-1)[start:stop].tobytes()
        size = (stop - start) * dtype.itemsize
        data = os.pread(self._descriptor, size, offset + start * dtype.itemsize)
        if len(data) != size:
            raise DataError(f"{path}: has changed while in use; start again")
        return data

    def forget(self) -> None:
        """Let the system take back the pages read so far; they come back from the file when needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


class PickledWithoutArray:
    """Base of a table whose one large array may lie in a file: it is pickled without it then, and maps it where it arrives."""

    large_array: ClassVar[str]
    """Name of the attribute."""
    _mapped: MappedArray | None
    """What maps it; None where it is held in memory."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._mapped is None else {**self.__dict__, self.large_array: None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._mapped is not None:
            setattr(self, self.large_array, self._mapped.array)


def blocks(array: np.ndarray, file: MappedArray | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """First row and rows of successive parts of a few megabytes.

    After each part, the pages of ``file``, which the array lies in, are forgotten.
    """
    rows = max(1, BLOCK_BYTES // max(1, array.itemsize * int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), rows):
        yield start, array[start : start + rows]
        if file is not None:
            file.forget()


def map_npy(path: str | os.PathLike) -> MappedArray | None:
    """The array of an ``.npy`` file; None where it has to be read the ordinary way.

    Raises:
        ValueError: not such a file, or truncated.
    """
    with open(path, "rb") as handle:
        return _map_here(handle, path)


def map_npz(path: str | os.PathLike, name: str) -> MappedArray | None:
    """One array of an ``.npz`` file; None where it has to be read the ordinary way (compressed, Fortran order).

    The file's checksums are not looked at.

    Raises:
        KeyError: no array of that name.
        ValueError, zipfile.BadZipFile: not such a file, or truncated.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            return None
        with archive.open(member):  # reads and checks what stands before the member's bytes
            assert archive.fp is not None  # it is open
            begin = archive.fp.tell()
    with open(path, "rb") as handle:
        handle.seek(begin)
        return _map_here(handle, path)


def check_npz(path: str | os.PathLike, name: str) -> None:
    """Compare one array of an ``.npz`` file with its checksum, holding a few megabytes of it.

    Raises:
        KeyError, zipfile.BadZipFile, zlib.error, EOFError: no such array, or damaged.
    """
    with zipfile.ZipFile(Path(path)) as archive, archive.open(f"{name}.npy") as member:
        while member.read(BLOCK_BYTES):
            pass


def _map_here(handle: BinaryIO, path: str | os.PathLike) -> MappedArray | None:
    header = read_header(handle)
    if header.dtype.hasobject or (header.fortran and len(header.shape) > 1):
        return None
    return MappedArray(path, header.dtype, header.shape, handle.tell())
