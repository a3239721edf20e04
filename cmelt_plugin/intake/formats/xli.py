"""XLI, Philips' compression of a lead: LZW codes of 10 bits over the high bytes, then the low bytes, of second differences.

A file holds the leads one after the other, each behind eight bytes: the number of bytes that follow (32 bits), a number of
unknown meaning (16) and the first difference (16), low bytes first. The third sample is extrapolated from the first two, and
so on; what is stored at a sample corrects the *next* extrapolation and has 64 added to it.
"""

from __future__ import annotations

import struct

import numpy as np

_HEADER = struct.Struct("<IHh")
_BITS = 10
_END = (1 << _BITS) - 1  # the code that ends a lead; the table never has an entry for it
_OFFSET = 64


def decode(data: bytes, leads: int, samples: int) -> np.ndarray:
    """Counts, int64 ``[leads, samples]``; what follows the last lead (allocated channels without signal) is not looked at.

    Raises:
        ValueError: the data end before, or a lead has another number of samples or values beyond 16 bits.
    """
    decoded = np.empty((leads, samples), dtype=np.int64)
    position = 0
    for row in decoded:
        if position + _HEADER.size > len(data):
            raise ValueError(f"the samples of {leads} leads are expected and the data end before")
        size, _, first = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        if size > len(data) - position:
            raise ValueError(f"a lead is said to have {size:,} bytes, {len(data) - position:,} are left")
        row[:] = _samples(_expand(data[position : position + size], 2 * samples), first)
        position += size
    return decoded


def _expand(data: bytes, length: int) -> bytes:
    """The bytes that LZW codes stand for, exactly ``length``.

    Raises:
        ValueError: there are more or fewer, or a code that cannot occur.
    """
    entries = [bytes([value]) for value in range(256)]
    out = bytearray()
    previous = b""
    waiting = bits = 0
    for byte in data:
        waiting = waiting << 8 | byte
        bits += 8
        if bits < _BITS:
            continue
        bits -= _BITS
        code = waiting >> bits
        waiting &= (1 << bits) - 1
        if code == _END:
            break
        if code < len(entries):
            entry = entries[code]
        elif code == len(entries) and previous:  # the entry that this very code completes
            entry = previous + previous[:1]
        else:
            raise ValueError(f"code {code} where the table has {len(entries)} entries")
        out += entry
        if len(out) > length:
            break
        if previous and len(entries) < _END:
            entries.append(previous + entry[:1])
        previous = entry
    if len(out) != length:
        raise ValueError(f"a lead of {len(out)} bytes or more where {length} are expected")
    return bytes(out)


def _samples(planes: bytes, first: int) -> np.ndarray:
    """Counts of one lead from the high bytes and the low bytes of its stored values."""
    high, low = np.frombuffer(planes, np.uint8).reshape(2, -1).astype(np.uint16)
    stored = (high << 8 | low).view(np.int16).astype(np.int64)
    bends = np.concatenate([[first], stored[2:-1] - _OFFSET])[: max(0, len(stored) - 2)]
    steps = np.concatenate([np.diff(stored[:2]), -bends]).cumsum()
    samples = np.concatenate([stored[:1], stored[0] + steps.cumsum()])
    if samples.size and np.abs(samples).max() > 1 << 15:
        raise ValueError("samples beyond 16 bits, so the compressed data are damaged")
    return samples
