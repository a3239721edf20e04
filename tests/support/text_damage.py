"""Damage to files that are text: bytes, numbers made absurd, lines lost or doubled, what is packed in Base64."""

from __future__ import annotations

import base64
import re

import numpy as np

from tests.data.readers.test_fuzzing import damaged

ABSURD = (
    b"0",
    b"-1",
    b"1e9",
    b"1e-9",
    b"2147483648",
    b"99999999999999999999",
    b"1e400",
    b"nan",
    b"",
    b"0x10",
    b"1,5",
    b"32767",
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_PACKED = re.compile(rb"[A-Za-z0-9+/]{200,}={0,2}")


def damaged_text(data: bytes, random: np.random.Generator) -> bytes:
    """One or two changes to text: of a number, of a line, of the bytes behind Base64, of bytes anywhere."""
    for _ in range(random.integers(1, 3)):
        kind = int(random.integers(5))
        lines = data.split(b"\n")
        line = int(random.integers(len(lines)))
        if kind == 0:
            data = _change(data, _NUMBER, bytes(random.choice(ABSURD)), random)
        elif kind == 1:
            lines[line] = _change(lines[line], _NUMBER, bytes(random.choice(ABSURD)), random)
            data = b"\n".join(lines)
        elif kind == 2:
            copies = int(random.choice([0, 2, 3]))
            data = b"\n".join([*lines[:line], *[lines[line]] * copies, *lines[line + 1 :]])
        elif kind == 3 and (packed := _PACKED.search(data)):
            try:
                inner = damaged(base64.b64decode(packed[0]), random)
            except ValueError:  # it is damaged already
                return data
            data = data[: packed.start()] + base64.b64encode(inner) + data[packed.end() :]
        else:
            data = damaged(data, random)
    return data


def _change(data: bytes, what: re.Pattern[bytes], to: bytes, random: np.random.Generator) -> bytes:
    """``data`` with one of the places that match replaced; early ones, which are headers, as often as all others."""
    places = list(what.finditer(data))
    if not places:
        return data
    place = places[int(random.integers(min(len(places), int(random.choice([20, len(places)])))))]
    return data[: place.start()] + to + data[place.end() :]
