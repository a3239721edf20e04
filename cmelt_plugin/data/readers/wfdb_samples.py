"""WFDB signal files: from bytes to the numbers that the digitiser gave.

Source: https://physionet.org/physiotools/wag/signal-5.htm. Format 8 holds differences, so that a window of it needs all that
comes before; 212, 310 and 311 pack samples into bits; 508, 516 and 524 are FLAC streams. In every format but 8 the lowest
number means "no value".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from cmelt_plugin.data.readers.contract import Rejected, check_file, file_name, open_file, read_exactly
from cmelt_plugin.data.readers.wfdb_header import Signal

CHUNK_BYTES = 4 << 20

_PLAIN = {8: "i1", 16: "<i2", 61: ">i2", 80: "u1", 160: "<u2", 32: "<i4"}
_ABOVE_ZERO = {80: 1 << 7, 160: 1 << 15}  # offset binary: the number that stands for 0
_PACKED = {212: (2, 3), 310: (3, 4), 311: (3, 4)}  # so many samples in so many bytes
_FLAC = {508: 8, 516: 16, 524: 24}  # bits
_INVALID = {16: 16, 24: 24, 32: 32, 61: 16, 80: 8, 160: 16, 212: 12, 310: 10, 311: 10, **_FLAC}  # bits of two's complement
_MOST_IN_A_BYTE = 6554  # FLAC: 65,535 equal samples in a block of ten bytes
FORMATS = sorted({*_PLAIN, 24, *_PACKED, *_FLAC})
_WHOLE_BLOCKS = 6  # any number of samples times this begins on a byte, in every format


class Group(NamedTuple):
    """The signals of one file; the file is a sequence of frames, each with the samples of one instant."""

    path: str
    format: int
    offset: int
    signals: tuple[Signal, ...]
    width: int
    """Samples of a frame."""

    @property
    def invalid(self) -> int | None:
        """The number that means "no value"."""
        return -(1 << (_INVALID[self.format] - 1)) if self.format in _INVALID else None


def group_of(folder: str | os.PathLike, signals: Sequence[Signal]) -> Group:
    """The group of signals that name the same file.

    Raises:
        Rejected: an unknown format, or signals that disagree on the format.
    """
    form, offset = signals[0].format, signals[0].offset
    where = signals[0].file
    if form not in FORMATS:
        known = ", ".join(map(str, FORMATS))
        raise Rejected("format", f"{where}: WFDB signal format {form} is not read ({known} are)")
    if any(signal.format != form or signal.offset != offset for signal in signals):
        raise Rejected("header", f"{where}: its signals have different formats or offsets")
    if form == 8 and any(signal.first is None for signal in signals):
        raise Rejected("header", f"{where}: format 8 holds differences and needs initial values, which the header lacks")
    return Group(os.path.join(folder, where), form, offset, tuple(signals), sum([signal.frame for signal in signals]))


def bytes_of(form: int, samples: int) -> int:
    """Bytes that so many samples occupy; not for FLAC."""
    if form in _PACKED:
        per_block, size = _PACKED[form]
        blocks, rest = divmod(samples, per_block)
        if form == 310:
            return blocks * size + 2 * rest
        return blocks * size + -(-rest * size // per_block)
    return samples * (3 if form == 24 else np.dtype(_PLAIN[form]).itemsize)


def count_frames(group: Group) -> int:
    """Frames in a file, from its size.

    Raises:
        Rejected: FLAC files, whose size does not say it, or a file that ends within a frame.
    """
    if group.format in _FLAC:
        raise Rejected("header", f"{file_name(group.path)}: its header does not give the number of samples")
    size = check_file(group.path).st_size
    per_block, block = _PACKED.get(group.format, (1, bytes_of(group.format, 1)))
    samples = max(0, size - group.offset) * per_block // block
    # Bits left over may look like another sample.
    frames = (samples + (per_block - 1 if group.format in _PACKED else 0)) // group.width
    while frames and bytes_of(group.format, frames * group.width) > size - group.offset:
        frames -= 1
    if group.format not in _PACKED and frames * group.width * block != size - group.offset:
        raise Rejected("truncated", f"{file_name(group.path)}: {size} bytes are no whole number of samples of each signal")
    return frames


def check_length(group: Group, frames: int) -> None:
    """Refuse a file that is too short for so many frames; of FLAC files, one that says so itself.

    Raises:
        Rejected: it is, or it is no regular file.
        OSError, ValueError: from the system.
    """
    if group.format in _FLAC:
        read_frames(group, frames, 0, 0, False)
    else:
        _check_size(group, frames, check_file(group.path).st_size)


def _check_size(group: Group, frames: int, size: int) -> None:
    needed = group.offset + bytes_of(group.format, frames * group.width)
    if size < needed:
        raise Rejected("truncated", f"{file_name(group.path)} has {size} bytes where the header announces {needed}")


class Window(NamedTuple):
    """Frames of a group."""

    numbers: np.ndarray
    """int [width, frames]"""
    sums: np.ndarray | None
    """Sum of every column over the whole file, int64 [width] modulo 2**16; None = the file was not read from end to end."""
    first: np.ndarray | None
    """First frame of the file, [width], likewise."""


def read_frames(group: Group, frames: int, start: int, stop: int, whole: bool) -> Window:
    """Frames ``start`` to ``stop`` of ``frames``.

    Args:
        whole: read the file from end to end for the sums, keeping the window only.

    Raises:
        Rejected: the file is too short for ``frames``, or not a FLAC file of these signals.
        OSError, ValueError: from the system.
    """
    if group.format in _FLAC:
        return _read_flac(group, frames, start, stop, whole)
    handle, size = open_file(group.path)
    with handle:
        _check_size(group, frames, size)
        begin = 0 if whole or group.format == 8 else start // _WHOLE_BLOCKS * _WHOLE_BLOCKS
        end = frames if whole else stop
        step = max(1, CHUNK_BYTES // (group.width * _WHOLE_BLOCKS)) * _WHOLE_BLOCKS
        chunks = ((a, _decode(handle, group, a, min(a + step, end))) for a in range(begin, end, step))
        return _collect(_summed_up(chunks, group) if group.format == 8 else chunks, group.width, start, stop, whole)


def _collect(chunks: Iterator[tuple[int, np.ndarray]], width: int, start: int, stop: int, whole: bool) -> Window:
    parts: list[np.ndarray] = []
    sums = np.zeros(width, dtype=np.int64)
    first = None
    for first_frame, numbers in chunks:
        lines = np.ascontiguousarray(numbers.T)
        if whole:
            # Sums modulo 2**16 are what is wanted, and 16 bits wrap around by themselves.
            sums += np.add.reduce(lines, axis=1, dtype=np.int16 if lines.dtype == np.int16 else np.int64)
            first = lines[:, 0] if first is None else first
        part = lines[:, max(0, start - first_frame) : max(0, stop - first_frame)]
        if part.shape[1]:  # a copy of a part, so that the rest of its chunk can be forgotten
            parts.append(part if part.shape == lines.shape else part.copy())
    numbers_of_window = (
        parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1) if parts else np.zeros((width, 0), dtype=np.int16)
    )
    return Window(numbers_of_window, sums & 0xFFFF if whole else None, first)


def _summed_up(chunks: Iterator[tuple[int, np.ndarray]], group: Group) -> Iterator[tuple[int, np.ndarray]]:
    """Amplitudes from the differences of format 8; samples of one signal in a frame follow one another."""
    last = np.array([signal.first for signal in group.signals], dtype=np.int64)
    edges = np.cumsum([0, *(signal.frame for signal in group.signals)])
    for first_frame, differences in chunks:
        numbers = np.empty(differences.shape, dtype=np.int64)
        for index, (a, b) in enumerate(zip(edges, edges[1:])):
            line = last[index] + np.cumsum(differences[:, a:b].reshape(-1), dtype=np.int64)
            numbers[:, a:b] = line.reshape(-1, b - a)
            last[index] = line[-1]
        yield first_frame, numbers


def _decode(handle: BinaryIO, group: Group, start: int, stop: int) -> np.ndarray:
    """Numbers [stop - start, width]; ``start`` is a multiple of 6."""
    form, width = group.format, group.width
    samples = (stop - start) * width
    offset = group.offset + bytes_of(form, start * width)
    data = read_exactly(handle, offset, bytes_of(form, samples))
    if form in _PACKED or form == 24:
        return _unpack(np.frombuffer(data, dtype=np.uint8), form, samples).reshape(-1, width)
    numbers = np.frombuffer(data, dtype=_PLAIN[form])
    if form in _ABOVE_ZERO:
        numbers = (numbers.astype(np.int32) - _ABOVE_ZERO[form]).astype(np.int16)
    elif form == 61:
        numbers = numbers.astype(np.int16)
    return numbers.reshape(-1, width)


def _unpack(data: np.ndarray, form: int, samples: int) -> np.ndarray:
    if form == 24:
        bytes_ = data.reshape(-1, 3).astype(np.int32)
        return bytes_[:, 0] | bytes_[:, 1] << 8 | ((bytes_[:, 2] ^ 0x80) - 0x80) << 16
    per_block, size = _PACKED[form]
    blocks = -(-samples // per_block)
    padded = np.zeros((blocks, size), dtype=np.int32)
    padded.reshape(-1)[: len(data)] = data
    a, b, c = padded[:, 0], padded[:, 1], padded[:, 2]
    numbers = np.empty((blocks, per_block), dtype=np.int32)
    if form == 212:
        bits = 12
        numbers[:, 0], numbers[:, 1] = a | (b & 0x0F) << 8, c | (b & 0xF0) << 4
    else:
        bits = 10
        d = padded[:, 3]
        if form == 310:  # two 16-bit words with 11 low bits each, of which the lowest is not used
            numbers[:, 0], numbers[:, 1] = a >> 1 | (b & 0x07) << 7, c >> 1 | (d & 0x07) << 7
            numbers[:, 2] = b >> 3 | (d >> 3) << 5
        else:  # 30 bits in a row
            numbers[:, 0], numbers[:, 1] = a | (b & 0x03) << 8, b >> 2 | (c & 0x0F) << 6
            numbers[:, 2] = c >> 4 | (d & 0x3F) << 4
    half = 1 << (bits - 1)
    return ((numbers ^ half) - half).astype(np.int16).reshape(-1)[:samples]


def _read_flac(group: Group, frames: int, start: int, stop: int, whole: bool) -> Window:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: without the library it wraps
        raise Rejected("format", f"{file_name(group.path)}: FLAC; pip install soundfile to read it") from None

    frame = group.signals[0].frame
    name = file_name(group.path)
    handle, size = open_file(group.path)
    with handle:
        if read_exactly(handle, 0, 4) != b"fLaC":
            raise Rejected("format", f"{name}: not a FLAC file")
        handle.seek(0)
        try:
            file = soundfile.SoundFile(handle)
        except soundfile.SoundFileRuntimeError as error:
            raise Rejected("unreadable", f"{name}: {error}") from None
        with file:
            bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(file.subtype, 99)
            same = all(signal.frame == frame for signal in group.signals)
            if file.channels != len(group.signals) or bits > _FLAC[group.format] or not same:
                raise Rejected("format", f"{name}: {file.channels} channels of {file.subtype} do not fit the header")
            if file.frames > size * _MOST_IN_A_BYTE:
                raise Rejected("header", f"{name}: {file.frames:,} samples in {size:,} bytes")
            if file.frames < group.offset + frames * frame:
                needed = group.offset + frames * frame
                raise Rejected("truncated", f"{name} has {file.frames} samples where the header announces {needed}")
            begin, end = (0, frames) if whole else (start, stop)
            step = max(1, CHUNK_BYTES // (4 * group.width))

            def chunks() -> Iterator[tuple[int, np.ndarray]]:
                file.seek(group.offset + begin * frame)
                for first_frame in range(begin, end, step):
                    count = (min(first_frame + step, end) - first_frame) * frame
                    numbers = file.read(count, dtype="int32", always_2d=True) >> (32 - bits)
                    if len(numbers) != count:
                        raise Rejected("truncated", f"{name}: {len(numbers)} samples where {count} should be")
                    yield (
                        first_frame,
                        numbers.reshape(-1, frame, len(group.signals)).transpose(0, 2, 1).reshape(-1, group.width),
                    )

            return _collect(chunks(), group.width, start, stop, whole)
