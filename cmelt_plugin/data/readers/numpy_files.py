"""NumPy's .npy and .npz files, of which only the part that is needed is read and nothing is unpickled."""

from __future__ import annotations

import math
import os
import zipfile
from typing import IO, Literal

import numpy as np

from cmelt_plugin.data.npy_header import Header, OtherType, read_header
from cmelt_plugin.data.readers.contract import LARGEST_ARRAY, Rejected, check_file, file_name, open_file, read_exactly


def open_npy(path: str | os.PathLike) -> np.ndarray:
    """The array of a .npy file; only what is taken from it is read.

    Raises:
        Rejected: not a regular file, or not numbers.
        ValueError: damaged, or not as long as it announces.
    """
    handle, size = open_file(path)
    with handle:
        announced = _header(handle, file_name(path))
    if announced.offset + announced.n_bytes != size:  # longer, too: what was put in has moved all that follows
        raise ValueError(f"{size:,} bytes where the header announces {announced.offset + announced.n_bytes:,}")
    if announced.n_bytes == 0:
        return np.zeros(announced.shape, announced.dtype)
    order: Literal["F", "C"] = "F" if announced.fortran else "C"
    return np.memmap(path, announced.dtype, "r", announced.offset, announced.shape, order)


def names_in_npz(path: str | os.PathLike) -> list[str]:
    """Names of the arrays of a .npz file.

    Raises:
        Rejected: not a regular file.
        zipfile.BadZipFile: damaged.
    """
    check_file(path)
    with zipfile.ZipFile(path) as archive:
        return [name[: -len(".npy")] if name.endswith(".npy") else name for name in archive.namelist()]


def read_npz(path: str | os.PathLike, name: str, row: int | None) -> np.ndarray:
    """An array of a .npz file, or the part of it that its first index ``row`` picks, where there is one.

    Raises:
        Rejected: not numbers, or too large.
        ValueError: damaged, or not as long as it announces.
    """
    check_file(path)
    with zipfile.ZipFile(path) as archive:
        known = set(archive.namelist())
        member = archive.getinfo(f"{name}.npy" if f"{name}.npy" in known else name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Rejected("unreadable", f"{file_name(path)}: packed by a method that NumPy does not use")
        with archive.open(member) as handle:
            announced = _header(handle, file_name(path))
            if announced.offset + announced.n_bytes != member.file_size:
                raise ValueError(
                    f"{member.file_size:,} bytes where the header announces {announced.offset + announced.n_bytes:,}"
                )
            begin, shape = announced.offset, announced.shape
            if row is not None and not announced.fortran and len(shape) > 1 and row < shape[0]:
                begin, shape = begin + row * announced.n_bytes // shape[0], shape[1:]
            size = math.prod(shape) * announced.dtype.itemsize
            if size > LARGEST_ARRAY:
                raise Rejected("large", f"{file_name(path)}: {name} has {size:,} bytes")
            array = announced._replace(shape=shape).array(read_exactly(handle, begin, size))
    if row is not None and shape is announced.shape:
        if len(shape) < 2 or row >= shape[0]:
            raise Rejected("row", f"{file_name(path)}: no row {row} in an array of shape {shape}")
        array = array[row]
    return array


def _header(handle: IO[bytes], name: str) -> Header:
    try:
        header = read_header(handle)
    except OtherType as error:
        raise Rejected("unreadable", f"{name}: holds {error}, not numbers") from None
    if header.dtype.kind not in "iuf":
        raise Rejected("unreadable", f"{name}: holds {header.dtype}, not numbers")
    return header
