"""``.npy`` and ``.npz`` files that may be damaged: headers are checked before anything they announce is allocated."""

from __future__ import annotations

import errno
import math
import os
import zipfile
from collections.abc import Collection

import numpy as np

from cmelt_plugin.data.npy_header import read_header

CHUNK_BYTES = 1 << 20


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
        if size != header.offset + header.n_bytes:
            raise ValueError(f"{size} bytes, its header announces {header.offset + header.n_bytes}")
        values = np.fromfile(handle, header.dtype, math.prod(header.shape))
    return values.reshape(header.shape, order="F" if header.fortran else "C")


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
    except OSError as error:
        if error.errno == errno.EINVAL:  # its directory names a place before the beginning
            raise ValueError("damaged: members lie outside of the file") from None
        raise
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # zipfile, zlib and struct each have errors of their own for a damaged file
        raise ValueError(f"damaged: {' '.join(str(error).split())[:200]}") from None


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as member:
        header = read_header(member)
        size = archive.getinfo(name).file_size
        if header.dtype.hasobject or size != header.offset + header.n_bytes:
            raise ValueError(f"{name}: {size} bytes, its header announces {header.offset + header.n_bytes}")
        data, place = bytearray(header.n_bytes), 0
        while place < len(data):
            part = member.read(CHUNK_BYTES)  # to the end, where zipfile compares the checksum
            if not part:
                raise ValueError(f"{name}: the file ends too soon")
            data[place : place + len(part)] = part
            place += len(part)
    return header.array(data)
