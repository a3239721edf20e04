"""MATLAB files of versions 4 and 5 to 7.2: their number arrays, texts and plain structs.

SciPy's reader allocates what a damaged file announces. Here every element has to lie within the one that holds it, and what
is compressed may not become larger than a recording can be. Version 7.3 is HDF5 (:mod:`.hdf5_files`).

Source: MathWorks, "MAT-File Format", version 4 and 5.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from typing import Any, BinaryIO, NamedTuple, Union

import numpy as np

from cmelt_plugin.data.readers.contract import LARGEST_ARRAY, Rejected, file_name, open_file, read_exactly

MOST_VARIABLES = 100_000
DEEPEST = 16  # structs within structs

_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHAR = 2, 4
_NUMBERS = range(6, 16)  # classes: double, single, int8, uint8, ..., uint64
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_STORED_4 = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}
_BEGINNING = 4096  # bytes of an element that hold its class, shape and name


class Unsupported(NamedTuple):
    """A variable of a kind that is not read."""

    kind: str


Value = Union[np.ndarray, str, dict, Unsupported]


class Variable(NamedTuple):
    """What the beginning of a variable says."""

    name: str
    is_array: bool
    """Whether it is an array of real numbers, and more than one."""
    place: int
    size: int
    """Bytes from ``place`` on."""
    compressed: bool


class MatFile:
    """An open file; ``variables`` by name.

    Raises:
        Rejected: version 7.3 (``is_hdf5`` tells before).
        ValueError: not a MATLAB file, or damaged.
        OSError: from the system.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        self.handle, self.size = open_file(path)
        try:
            self.version, self.order = _version(self.handle, self.size)
            listed = self._list_4() if self.version == 4 else self._list_5()
            self.variables = {variable.name: variable for variable in listed}
        except BaseException:
            self.handle.close()
            raise

    def __enter__(self) -> MatFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.handle.close()

    def arrays(self) -> list[str]:
        """Names of the number arrays, in the file's order."""
        return [variable.name for variable in self.variables.values() if variable.is_array]

    def read(self, name: str) -> Value:
        """A variable: number arrays as stored, structs as dict.

        Raises:
            Rejected: it is too large.
            ValueError: it is damaged.
        """
        variable = self.variables[name]
        if variable.size > LARGEST_ARRAY:
            raise Rejected("large", f"{file_name(self.path)}: {name} has {variable.size:,} bytes")
        data = read_exactly(self.handle, variable.place, variable.size)
        if self.version == 4:
            return _read_4(data, self.order)[1]
        if variable.compressed:
            kind, size = _tag(zlib.decompressobj().decompress(data, 8), 0, self.order)
            if kind != _MATRIX:
                raise ValueError(f"an element of type {kind} where a matrix should be")
            if size > LARGEST_ARRAY:
                raise Rejected("large", f"{file_name(self.path)}: {name} has {size:,} bytes")
            return _read_5(_unpacked(data, size + 8)[8:], self.order, 0)[1]
        return _read_5(memoryview(data), self.order, 0)[1]

    def _list_4(self) -> list[Variable]:
        variables: list[Variable] = []
        offset = 0
        while offset < self.size and len(variables) < MOST_VARIABLES:
            head = read_exactly(self.handle, offset, 20)
            kind, rows, columns, imaginary, letters = struct.unpack(f"{self.order}5i", head)
            stored, text = _STORED_4.get(kind % 100 // 10), kind % 10
            if min(rows, columns, letters - 1) < 0 or letters > _BEGINNING or stored is None or text > 2 or kind // 1000 > 1:
                raise ValueError("no header of a variable")
            size = 20 + letters + rows * columns * np.dtype(stored).itemsize * (2 if imaginary else 1)
            if offset + size > self.size:
                raise ValueError(f"a variable of {size:,} bytes in a file of {self.size:,}")
            name = read_exactly(self.handle, offset + 20, letters).split(b"\0")[0].decode("latin-1")
            is_array = text == 0 and not imaginary and rows * columns != 1
            variables.append(Variable(name, is_array, offset, size, False))
            offset += size
        return variables

    def _list_5(self) -> list[Variable]:
        variables: list[Variable] = []
        offset = 128
        while offset + 8 <= self.size and len(variables) < MOST_VARIABLES:
            kind, size = _tag(read_exactly(self.handle, offset, 8), 0, self.order)
            if offset + 8 + size > self.size:
                raise ValueError(f"an element of {size:,} bytes in a file of {self.size:,}")
            head = read_exactly(self.handle, offset + 8, min(size, _BEGINNING))
            if kind == _COMPRESSED:
                head = zlib.decompressobj().decompress(head, _BEGINNING)
                kind = _tag(head, 0, self.order)[0]
                variables += _listed(kind, memoryview(head)[8:], self.order, offset + 8, size, True)
                offset += 8 + size
            else:
                variables += _listed(kind, memoryview(head), self.order, offset + 8, size, False)
                offset += 8 + _padded(size)
        return variables


def is_hdf5(path: str | os.PathLike) -> bool:
    """Whether a MATLAB file is of version 7.3.

    Raises:
        Rejected: not a regular file.
        OSError: from the system.
    """
    handle, size = open_file(path)
    with handle:
        return size >= 128 and _major(read_exactly(handle, 0, 128)) == 2


def _version(handle: BinaryIO, size: int) -> tuple[int, str]:
    if size < 20:
        raise ValueError(f"{size} bytes are no MATLAB file")
    head = read_exactly(handle, 0, min(size, 128))
    if 0 in head[:4]:  # version 4 begins with a small number, later ones with a text
        (kind,) = struct.unpack("<i", head[:4])
        return 4, "<" if 0 <= kind < 1000 else ">"
    major = _major(head) if size >= 128 else 0
    if major != 1:
        raise ValueError("no MATLAB file")
    return 5, "<" if head[126:128] == b"IM" else ">"


def _major(head: bytes) -> int:
    return {b"IM": head[125], b"MI": head[124]}.get(head[126:128], 0)


def _unpacked(data: bytes, size: int) -> memoryview:
    """The ``size`` bytes that a zlib stream holds, whose checksum is compared on the way."""
    stream = zlib.decompressobj()
    content = stream.decompress(data, size)
    if len(content) < size or stream.decompress(stream.unconsumed_tail, 1) or not stream.eof:
        raise ValueError(f"{len(content):,} bytes or more where {size:,} should be")
    return memoryview(content)


def _listed(kind: int, head: memoryview, order: str, offset: int, size: int, compressed: bool) -> list[Variable]:
    if kind != _MATRIX:
        return []
    if size == 0:  # an empty matrix without a name
        return []
    class_, complex_, shape, name, _ = _beginning(head, order)
    is_array = class_ in _NUMBERS and not complex_ and math.prod(shape) != 1
    return [Variable(name, is_array, offset, size, compressed)]


def _beginning(data: memoryview, order: str) -> tuple[int, bool, tuple[int, ...], str, int]:
    """Class, whether complex, shape and name of a matrix, and where its content begins."""
    _, flags, offset = _element(data, 0, order)
    _, sizes, offset = _element(data, offset, order)
    _, name, offset = _element(data, offset, order)
    if len(flags) < 8 or len(sizes) % 4 or not 8 <= len(sizes) <= 128:
        raise ValueError("a matrix without class and shape")
    (word,) = struct.unpack_from(f"{order}I", flags)
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if min(shape) < 0:
        raise ValueError(f"a matrix of shape {shape}")
    return word & 0xFF, bool(word & 0x800), shape, bytes(name).decode("latin-1"), offset


def _read_5(data: memoryview, order: str, depth: int) -> tuple[str, Value]:
    """Name and value of a matrix."""
    if not data:
        return "", np.zeros((0, 0))
    class_, complex_, shape, name, offset = _beginning(data, order)
    count = math.prod(shape)
    if class_ in _NUMBERS:
        if complex_:
            return name, Unsupported("complex numbers")
        kind, numbers, _ = _element(data, offset, order)
        if kind not in _STORED:
            raise ValueError(f"numbers of type {kind}")
        dtype = np.dtype(order + _STORED[kind])
        if len(numbers) != count * dtype.itemsize:
            raise ValueError(f"{len(numbers)} bytes for {count} numbers")
        return name, np.frombuffer(numbers, dtype=dtype).reshape(shape, order="F")
    if class_ == _CHAR:
        kind, letters, _ = _element(data, offset, order)
        code = _TEXT.get(kind, "latin-1")
        if code in ("utf-16", "utf-32"):
            code += {"<": "-le", ">": "-be"}[order]
        return name, bytes(letters).decode(code)
    if class_ == _STRUCT and count == 1:
        if depth == DEEPEST:
            raise ValueError(f"more than {DEEPEST} structs in one another")
        return name, _read_struct(data, offset, order, depth)
    return name, Unsupported({1: "cells", 2: "an array of structs", 5: "a sparse matrix"}.get(class_, f"class {class_}"))


def _read_struct(data: memoryview, offset: int, order: str, depth: int) -> dict[str, Value]:
    _, length, offset = _element(data, offset, order)
    _, names, offset = _element(data, offset, order)
    width = struct.unpack(f"{order}i", length)[0] if len(length) == 4 else 0
    if width <= 0 or len(names) % width:
        raise ValueError("a struct without names of its fields")
    fields: dict[str, Value] = {}
    for start in range(0, len(names), width):
        kind, content, offset = _element(data, offset, order)
        if kind != _MATRIX:
            raise ValueError(f"a field of type {kind}")
        fields[bytes(names[start : start + width]).split(b"\0")[0].decode("latin-1")] = _read_5(content, order, depth + 1)[1]
    return fields


def _read_4(data: bytes, order: str) -> tuple[str, Value]:
    kind, rows, columns, imaginary, letters = struct.unpack(f"{order}5i", data[:20])
    dtype = np.dtype(order + _STORED_4[kind % 100 // 10])
    name = data[20 : 20 + letters].split(b"\0")[0].decode("latin-1")
    if imaginary or kind % 10 == 2:
        return name, Unsupported("complex numbers" if imaginary else "a sparse matrix")
    values = np.frombuffer(data, dtype, rows * columns, 20 + letters).reshape((rows, columns), order="F")
    if kind % 10 == 1:
        return name, "".join(chr(int(code)) for code in values.T.reshape(-1) if 0 < code < 0x110000)
    return name, values


def _element(data: memoryview, offset: int, order: str) -> tuple[int, memoryview, int]:
    """Type and content of the element at ``place``, and where the next begins."""
    kind, size = _tag(data, offset, order)
    begin, after = offset + 8, offset + 8 + _padded(size)
    if kind > 0xFFFF:  # the small form: size and type in one word, up to four bytes in the next
        size, kind = kind >> 16, kind & 0xFFFF
        begin, after = offset + 4, offset + 8
        if size > 4:
            raise ValueError(f"a small element of {size} bytes")
    if begin + size > len(data):
        raise ValueError(f"an element of {size:,} bytes where {max(0, len(data) - begin):,} are left")
    return kind, data[begin : begin + size], after


def _tag(data: bytes | memoryview, offset: int, order: str) -> tuple[int, int]:
    if offset + 8 > len(data):
        raise ValueError("an element ends too soon")
    return struct.unpack_from(f"{order}2I", data, offset)


def _padded(size: int) -> int:
    return -(-size // 8) * 8
