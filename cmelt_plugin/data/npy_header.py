"""The header of an ``.npy`` file: what it says of its array, checked before anything it announces is allocated.

It is searched, not evaluated as NumPy does: Python's own parser runs out of memory on some. Source: numpy.lib.format.
"""

from __future__ import annotations

import math
import re
from typing import IO, NamedTuple

import numpy as np

MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 1 << 16
LONGEST_AXIS = 1 << 62

_DTYPE = re.compile(r"'descr'\s*:\s*'(?P<dtype>[<>|=][a-zA-Z]\d{0,6})'")
_ORDER = re.compile(r"'fortran_order'\s*:\s*(?P<order>True|False)")
_SHAPE = re.compile(r"'shape'\s*:\s*\((?P<shape>[\dL,\s]{0,600})\)", re.ASCII)
_OTHER_DTYPE = re.compile(r"'descr'\s*:\s*(?P<dtype>.{1,40})")


class Header(NamedTuple):
    """What an ``.npy`` file says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int
    """Where the data begin, in bytes."""

    @property
    def n_bytes(self) -> int:
        """Size of the data; in Python's numbers, which do not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, data: bytes | bytearray) -> np.ndarray:
        """The array whose values are ``data``."""
        return np.frombuffer(data, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


class OtherType(ValueError):
    """The array holds no plain values; the message is how the header calls its type."""


def read_header(handle: IO[bytes]) -> Header:
    """Read the header of format 1.0 to 3.0 at the handle's place, which is then where the data begin.

    Raises:
        OtherType: the array holds records with fields, dates or the like.
        ValueError: it is damaged.
    """
    head = _read(handle, 8)
    if head[:6] != MAGIC or head[6] not in (1, 2, 3):
        raise ValueError("damaged header: not a file of NumPy's")
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(_read(handle, width), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"damaged header: {length:,} bytes long")
    # Names of fields apart, which UTF-8 is for, a header is ASCII.
    text = _read(handle, length).decode("latin-1")
    dtype, order, shape = _DTYPE.search(text), _ORDER.search(text), _SHAPE.search(text)
    if dtype is None and (other := _OTHER_DTYPE.search(text)) is not None:
        raise OtherType(other["dtype"])
    if dtype is None or order is None or shape is None:
        raise ValueError("damaged header: it does not say what the values are")
    try:
        kind = np.dtype(dtype["dtype"])
    except TypeError:
        raise ValueError(f"damaged header: type {dtype['dtype']}") from None
    if kind.itemsize == 0:
        raise ValueError(f"damaged header: type {kind}")
    try:
        sizes = tuple(int(size.strip().rstrip("L")) for size in shape["shape"].split(",") if size.strip())
    except ValueError:
        raise ValueError(f"damaged header: shape ({shape['shape']})") from None
    if any(size >= LONGEST_AXIS for size in sizes):
        raise ValueError(f"damaged header: shape {sizes}")
    return Header(sizes, order["order"] == "True", kind, 8 + width + length)


def _read(handle: IO[bytes], count: int) -> bytes:
    data = handle.read(count)
    if len(data) < count:
        raise ValueError("damaged header: the file ends too soon")
    return data
