"""SCP-ECG files of known counts."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

NUMBERS = (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)
"""Of the standard twelve leads."""


def sections_of(
    counts: np.ndarray,
    *,
    quantum: int = 2500,
    interval: int = 2000,
    difference: int = 0,
    bimodal: int = 0,
    flags: int = 0x64,
    table: bytes | None = struct.pack("<H", 19999),
    encode=None,
    facts: bytes = b"",
    starts: Sequence[int] = (),
    numbers: Sequence[int] = NUMBERS,
) -> dict[int, bytes]:
    """Contents of sections 1, 2 (where there is a table), 3 and 6."""
    starts = starts or [1] * len(counts)
    leads = b"".join(struct.pack("<IIB", start, start + counts.shape[1] - 1, number) for start, number in zip(starts, numbers))
    parts = []
    for row in counts.astype(int):
        values = np.concatenate([row[:difference], np.diff(row, difference)])
        parts.append(values.astype("<i2").tobytes() if table is None else (encode or default_code)(values))
    sizes = struct.pack(f"<{len(parts)}H", *map(len, parts))
    sections = {1: facts + b"\xff\x00\x00", 3: bytes([len(counts), flags]) + leads}
    if table is not None:
        sections[2] = table
    sections[6] = struct.pack("<HHBB", quantum, interval, difference, bimodal) + sizes + b"".join(parts)
    return sections


def write(path: Path, sections: dict[int, bytes]) -> Path:
    """Put sections into a file, with its table of contents and all checksums."""
    place = 6 + 16 + 10 * 12
    contents, bodies = [], []
    for number in range(12):
        size = (place if number == 0 else len(sections[number]) + 16) if number == 0 or number in sections else 0
        size = size - 6 if number == 0 else size
        contents.append(struct.pack("<HII", number, size, (7 if number == 0 else place + 1) if size else 0))
        if number and size:
            bodies.append(_section(number, sections[number]))
            place += size
    data = _section(0, b"".join(contents), b"SCPECG") + b"".join(bodies)
    data = struct.pack("<I", len(data) + 6) + data
    path.write_bytes(struct.pack("<H", binascii.crc_hqx(data, 0xFFFF)) + data)
    return path


def resealed(data: bytes) -> bytes:
    """A damaged file with checksums and length that are right again, as far as its sections are found."""
    if len(data) < 148:
        return data
    sealed = bytearray(data)
    struct.pack_into("<I", sealed, 2, len(sealed))
    for _, size, place in [(0, 136, 7), *struct.iter_unpack("<HII", data[22:142])]:
        if 16 <= size <= len(sealed) - place + 1 and place > 0:
            struct.pack_into("<H", sealed, place - 1, binascii.crc_hqx(sealed[place + 1 : place - 1 + size], 0xFFFF))
    struct.pack_into("<H", sealed, 0, binascii.crc_hqx(sealed[2:], 0xFFFF))
    return bytes(sealed)


def default_code(values: np.ndarray) -> bytes:
    """Values in the default Huffman code."""
    return packed("".join(_default(int(value)) for value in values))


def packed(bits: str) -> bytes:
    """Bits as bytes, filled up with zeros to an even number."""
    bits += "0" * (-len(bits) % 16)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def field(tag: int, value: bytes) -> bytes:
    """A field of section 1."""
    return struct.pack("<BH", tag, len(value)) + value


def _default(value: int) -> str:
    if value == 0:
        return "0"
    if abs(value) <= 8:
        return "1" * abs(value) + "0" + ("1" if value < 0 else "0")
    size, code = (8, "1" * 9 + "0") if -128 <= value < 128 else (16, "1" * 10)
    return code + f"{value & (1 << size) - 1:0{size}b}"


def _section(number: int, body: bytes, mark: bytes = bytes(6)) -> bytes:
    content = struct.pack("<HIBB", number, len(body) + 16, 20, 20) + mark + body
    return struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content
