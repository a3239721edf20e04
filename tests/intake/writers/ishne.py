"""ISHNE Holter recordings of known counts."""

from __future__ import annotations

import binascii
import struct
from pathlib import Path

import numpy as np

HEAD = struct.Struct("<iiiih40s40s20shh3h3h3h3hh12h12h12hh40sH80s80s88s")
STANDARD = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)


def write(
    path: Path,
    counts: np.ndarray,
    *,
    rate: int = 500,
    nanovolts: int = 2500,
    codes: tuple[int, ...] = STANDARD,
    block: bytes = b"a variable block",
    samples: int | None = None,
    sex: int = 2,
    birth: tuple[int, int, int] = (29, 2, 1960),
    day: tuple[int, int, int] = (1, 3, 2020),
    time: tuple[int, int, int] = (7, 30, 0),
) -> Path:
    """Write int16 ``[leads, samples]``; days are day, month, year."""
    leads, length = counts.shape
    numbers = 12 * (0,)
    head = HEAD.pack(
        *(len(block), length if samples is None else samples, 522, 522 + len(block), 1),
        *(b"none", b"none", b"1", sex, 0, *birth, *day, *day, *time, leads),
        *(*codes[:leads], *(-9 for _ in range(12 - leads)), *numbers, *(nanovolts for _ in range(leads)), *numbers[leads:]),
        *(0, b"digital\0", rate, b"", b"", b""),
    )
    path.write_bytes(sealed(b"ISHNE1.0\0\0" + head + block + counts.T.astype("<i2").tobytes(), 522 + len(block)))
    return path


def sealed(data: bytes, place: int) -> bytes:
    """With the checksum of what lies before ``place``."""
    return data[:8] + struct.pack("<H", binascii.crc_hqx(data[10:place], 0xFFFF)) + data[10:]
