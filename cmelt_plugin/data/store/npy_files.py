"""``.npy`` and ``.npz`` files that may be damaged: headers are checked before anything they announce is allocated."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection
from typing import IO, Any, NamedTuple

import numpy as np


class Header(NamedTuple):
    """What an ``.npy`` file says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int
    """Where the data begin, in bytes."""

    @property
    def bytes(self) -> int:
        """Size of the data; in Python's numbers, which do not overflow."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def read_header(handle: IO[bytes]) -> Header:
    """Read the header of format 1.0 to 3.0 at the handle's place.

    Raises:
        ValueError: it is damaged.
    """
    start = handle.tell()
    try:
        version = np.lib.format.read_magic(handle)
        read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(handle)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # numpy reads it with Python's own parser, which fails in many ways
        raise ValueError(f"damaged header: {' '.join(str(error).split())[:200]}") from None
    if not all(type(length) is int and 0 <= length < 2**62 for length in shape):
        raise ValueError(f"damaged header: shape {shape}")
    if dtype.itemsize == 0:
        raise ValueError(f"damaged header: type {dtype}")
    return Header(shape, bool(fortran), dtype, handle.tell() - start)


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """The array of an ``.npy`` file.

    Raises:
        ValueError: not such a file, of another size than its header announces, or an array of Python objects.
    """
    with open(path, "rb") as handle:
        header = read_header(handle)
        size = os.fstat(handle.fileno()).st_size
        if header.dtype.hasobject:
            raise ValueError("an array of Python objects")
        if size != header.offset + header.bytes:
            raise ValueError(f"{size} bytes, its header announces {header.offset + header.bytes}")
        handle.seek(0)
        return np.load(handle, allow_pickle=False)


def read_npz(path: str | os.PathLike, without: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by name, compared with the file's own checksums.

    Args:
        path: the file.
        without: names of arrays that are not read.

    Raises:
        OSError: it cannot be read.
        ValueError: not such a file, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy") and name[: -len(".npy")] not in without]
            return {name[: -len(".npy")]: _read_member(archive, name) for name in names}
    except (OSError, MemoryError, ValueError):
        raise
    except Exception as error:  # zipfile, zlib and struct each have errors of their own for a damaged file
        raise ValueError(f"damaged: {' '.join(str(error).split())[:200]}") from None


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as member:
        header = read_header(member)
        size = archive.getinfo(name).file_size
        if header.dtype.hasobject or size != header.offset + header.bytes:
            raise ValueError(f"{name}: {size} bytes, its header announces {header.offset + header.bytes}")
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
