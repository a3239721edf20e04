"""ISHNE Holter recordings: a head of 512 bytes, a variable block, and the leads interleaved, 16 bits a sample.

Source: Badilini, "The ISHNE Holter standard output file format", Ann Noninvasive Electrocardiol 3:263 (1998). All numbers
are little-endian; -9 stands for what is not known. The checksum is CRC-CCITT from 0xFFFF over both heads.
"""

from __future__ import annotations

import binascii
import struct

import numpy as np

from cmelt_plugin.data.readers.contract import ALL, Reading, open_file, read_exactly, takes_reading
from cmelt_plugin.intake.patient_facts import age_between, moment
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import IN_WINDOWS, MOST_VALUES, refuse, refusing

MAGIC, ANNOTATIONS = b"ISHNE1.0", b"ANN  1.0"
START = 522  # of the variable block
LARGEST_BLOCK = 1 << 24  # bytes
MOST_LEADS = 12
LEADS = (
    *("unknown", "bipolar", "X", "Y", "Z", "I", "II", "III", "aVR", "aVL", "aVF"),
    *("V1", "V2", "V3", "V4", "V5", "V6", "ES", "AS", "AI"),
)

_HEAD = struct.Struct("<iiiih40s40s20shh3h3h3h3hh12h12h12hh40sH80s80s88s")


def matches(head: bytes, path: str) -> bool:
    return head[:8] in (MAGIC, ANNOTATIONS)


@takes_reading
@refusing("an ISHNE file")
def read(path: str, reading: Reading = ALL) -> Recording:
    """Read a recording, or the part of it that is wanted.

    Raises:
        DataError: damaged, longer than is read at once, or a file of annotations.
    """
    handle, size = open_file(path)
    with handle:
        head = read_exactly(handle, 0, min(size, START))
        if head[:8] == ANNOTATIONS:
            refuse(path, "holds beat annotations and no ECG", "give the recording beside it (NAME.ecg)")
        if head[:8] != MAGIC or len(head) < START:
            refuse(path, "does not begin with the head of an ISHNE file")
        block, samples, block_place, place, _, *fields = _HEAD.unpack_from(head, 10)
        if block_place != START or block < 0 or place != START + block or block > LARGEST_BLOCK:
            refuse(path, f"a variable block of {block:,} bytes at {block_place:,}, the signal at {place:,}")
        covered = read_exactly(handle, 10, place - 10)
        (checksum,) = struct.unpack_from("<H", head, 8)
        if checksum != binascii.crc_hqx(covered, 0xFFFF):
            refuse(path, "the checksum of the head is wrong")
        sex, birth, day, time = fields[3], fields[5:8], fields[8:11], fields[14:17]
        count, codes, nanovolts = fields[17], fields[18:30], fields[42:54]
        recorder, rate = fields[55], fields[56]
        if not 0 < count <= MOST_LEADS or not rate:
            refuse(path, f"{count} leads at {rate} Hz")
        if min(nanovolts[:count]) <= 0:
            refuse(path, f"{min(nanovolts[:count])} nV a count", "a recording without its amplitude is not read")
        there = (size - place) // (2 * count)
        if count > 1 and samples == there * count:
            samples = there  # some give the samples of all leads together; of a file that was cut both would be wrong
        if not 0 < samples <= there:
            refuse(path, f"{samples:,} samples of {count} leads announced, {there:,} there")
        first, last = reading.span(samples, rate)
        part = last - first
        if part * count > MOST_VALUES:
            refuse(path, f"{part:,} samples of {count} leads, at most {MOST_VALUES:,} are read together", IN_WINDOWS)
        data = read_exactly(handle, place + first * count * 2, part * count * 2)
        counts = np.frombuffer(data, "<i2").reshape(part, count)
    signal = np.empty((count, part), np.float32)
    for lead in range(count):
        np.multiply(counts[:, lead], nanovolts[lead] * 1e-6, out=signal[lead], casting="same_kind")
    notes: tuple[str, ...] = (
        (f"The file has {there} samples and announces {samples}; the rest is left out.",) if there > samples else ()
    )
    start = moment(day[2], day[1], day[0], *(time if min(time) >= 0 else ()))
    if start is not None and min(time) < 0:
        notes += ("The time of day is not given; the start is the beginning of the day.",)
    return Recording(
        signal,
        float(rate),
        _named(codes[:count]),
        start=start,
        sex={1: "M", 2: "F"}.get(sex),
        age=age_between(moment(*reversed(birth)), start),
        device=_text(recorder),
        notes=notes,
        samples=reading.total(samples),
    )


def _named(codes: list[int]) -> tuple[str, ...]:
    """Names of the leads; what has none, or shares one, by its position."""
    names = [LEADS[code] if 1 < code < len(LEADS) else "" for code in codes]
    return tuple(name if name and names.count(name) == 1 else f"{name or 'lead'} {n}" for n, name in enumerate(names, start=1))


def _text(field: bytes) -> str:
    return "".join(filter(str.isprintable, field.split(b"\0")[0].decode("latin-1"))).strip()
