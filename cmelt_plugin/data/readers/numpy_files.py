"""NumPy's .npy and .npz files, of which only the part that is needed is read and nothing is unpickled.

Source: numpy.lib.format. The header is not evaluated, as NumPy does: Python's own parser runs out of memory on some.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from typing import IO, Literal, NamedTuple

import numpy as np

from cmelt_plugin.data.readers.contract import LARGEST_ARRAY, Rejected, check_file, file_name, open_file, read_exactly

LONGEST_HEADER = 1 << 16

_DTYPE = re.compile(r"'descr'\s*:\s*'(?P<dtype>[<>|=][a-zA-Z]\d{1,4})'")
_ORDER = re.compile(r"'fortran_order'\s*:\s*(?P<order>True|False)")
_SHAPE = re.compile(r"'shape'\s*:\s*\((?P<shape>[\dL,\s]{0,600})\)", re.ASCII)
_OTHER_DTYPE = re.compile(r"'descr'\s*:\s*(?P<dtype>.{1,40})")


class Announced(NamedTuple):
    """What a header says."""

    dtype: np.dtype
    fortran: bool
    shape: tuple[int, ...]
    begin: int
    """Bytes before the first number."""

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def open_npy(path: str | os.PathLike) -> np.ndarray:
    """The array of a .npy file; only what is taken from it is read.

    Raises:
        Rejected: not a regular file, or not numbers.
        ValueError: damaged, or shorter than it announces.
    """
    handle, size = open_file(path)
    with handle:
        announced = _header(handle, file_name(path))
    if announced.begin + announced.size > size:
        raise ValueError(f"{size:,} bytes where the header announces {announced.begin + announced.size:,}")
    if announced.size == 0:
        return np.zeros(announced.shape, announced.dtype)
    order: Literal["F", "C"] = "F" if announced.fortran else "C"
    return np.memmap(path, announced.dtype, "r", announced.begin, announced.shape, order)


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
        ValueError: damaged, or shorter than it announces.
    """
    check_file(path)
    with zipfile.ZipFile(path) as archive:
        known = set(archive.namelist())
        member = archive.getinfo(f"{name}.npy" if f"{name}.npy" in known else name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Rejected("unreadable", f"{file_name(path)}: packed by a method that NumPy does not use")
        with archive.open(member) as handle:
            announced = _header(handle, file_name(path))
            if announced.begin + announced.size > member.file_size:
                raise ValueError(f"{member.file_size:,} bytes where the header announces {announced.begin + announced.size:,}")
            begin, shape = announced.begin, announced.shape
            if row is not None and not announced.fortran and len(shape) > 1 and row < shape[0]:
                begin, shape = begin + row * announced.size // shape[0], shape[1:]
            size = math.prod(shape) * announced.dtype.itemsize
            if size > LARGEST_ARRAY:
                raise Rejected("large", f"{file_name(path)}: {name} has {size:,} bytes")
            numbers = np.frombuffer(read_exactly(handle, begin, size), announced.dtype)
            array = numbers.reshape(shape, order="F" if announced.fortran else "C")
    if row is not None and shape is announced.shape:
        if len(shape) < 2 or row >= shape[0]:
            raise Rejected("row", f"{file_name(path)}: no row {row} in an array of shape {shape}")
        array = array[row]
    return array


def _header(handle: IO[bytes], name: str) -> Announced:
    head = read_exactly(handle, 0, 8)
    if head[:6] != b"\x93NUMPY" or head[6] not in (1, 2, 3):
        raise ValueError("not a file of NumPy's")
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(read_exactly(handle, 8, width), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"a header of {length:,} bytes")
    text = read_exactly(handle, 8 + width, length).decode("utf-8" if head[6] == 3 else "latin-1")
    dtype, order, shape = _DTYPE.search(text), _ORDER.search(text), _SHAPE.search(text)
    if dtype is None and (other := _OTHER_DTYPE.search(text)) is not None:
        raise Rejected("unreadable", f"{name}: holds {other['dtype']}, not numbers")
    if dtype is None or order is None or shape is None:
        raise ValueError("a header that does not say what the numbers are")
    kind = np.dtype(dtype["dtype"])
    if kind.kind not in "iuf":
        raise Rejected("unreadable", f"{name}: holds {kind}, not numbers")
    sizes = tuple(int(size.strip().rstrip("L")) for size in shape["shape"].split(",") if size.strip())
    return Announced(kind, order["order"] == "True", sizes, 8 + width + length)
