"""SCP-ECG (EN 1064): the rhythm of section 6, whether raw, Huffman-coded, or as first or second differences.

Layout, all numbers little-endian: checksum and length of the file, then sections, each with a head of 16 bytes (checksum,
number, length, versions). Section 0 says where the others are, 1 holds facts of patient and device as tagged fields, 2 the
Huffman tables, 3 the leads, 6 the samples. Checksums are CRC-CCITT from 0xFFFF over all that follows them.

Recordings from which a reference beat was subtracted, or whose samples are thinned out between beats (bimodal compression), are
refused: the rest alone would look like an ECG and be none.
"""

from __future__ import annotations

import binascii
import re
import struct
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.lead_codes import LEAD_NAMES
from cmelt_plugin.intake.patient_facts import DAYS_A_YEAR, age_between, moment, plausible_age
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import MOST_VALUES, refuse, refusing, whole_file

MARK = b"SCPECG"
DEFAULT_TABLES = 19999  # in place of a number of tables: that of the standard
MOST_SYMBOLS = 1 << 23  # of all leads together; a code needs a bit, so that a small file could keep a reader busy for minutes
LONGEST_LEAD = 0xFFFE  # bytes
WITHOUT_COMPRESSION = "export it without reference beat subtraction and bimodal compression"

_HEAD = struct.Struct("<HHIBB6s")
_POINTER = struct.Struct("<HII")
_YEARS = {1: 1.0, 2: 1 / 12, 3: 7 / DAYS_A_YEAR, 4: 1 / DAYS_A_YEAR, 5: 1 / 24 / DAYS_A_YEAR}
_FILTERS = ("60 Hz notch", "50 Hz notch", "artefact", "baseline")


class Code(NamedTuple):
    """What the bits of a Huffman code mean."""

    value: int
    """Of the sample; or number of the table to go on with, from 1."""
    following: int
    """Bits after the code that hold the value, two's complement; 0 = ``value`` is it."""
    switches: bool


class Table:
    """A Huffman table: from the text of its codes, first bit first."""

    def __init__(self, codes: dict[str, Code]) -> None:
        listed = sorted(codes)
        if not listed or any(after.startswith(code) for code, after in zip(listed, listed[1:])):
            raise ValueError("a Huffman table whose codes cannot be told apart")
        self.codes = codes
        self.match = re.compile("|".join(listed)).match


def default_table() -> Table:
    """That of the standard: 0 is ``0``; ±n is n ones, a zero and the sign, up to 8; then 8 or 16 bits as they are."""
    codes = {"0": Code(0, 0, False), "1" * 9 + "0": Code(0, 8, False), "1" * 10: Code(0, 16, False)}
    for size in range(1, 9):
        codes["1" * size + "00"] = Code(size, 0, False)
        codes["1" * size + "01"] = Code(-size, 0, False)
    return Table(codes)


class Lead(NamedTuple):
    """A lead as section 3 describes it."""

    name: str
    start: int
    stop: int
    """After its last sample."""


def matches(head: bytes, path: str) -> bool:
    return head[16:22] == MARK or str(path).lower().endswith(".scp")


@refusing("an SCP-ECG file")
def read(path: str) -> Recording:
    """Read the rhythm.

    Raises:
        DataError: damaged, or in a form that is not read.
    """
    data = whole_file(path)
    sections = _sections(path, data)
    for number in (3, 6):
        if number not in sections:
            refuse(path, f"has no section {number}", "export the rhythm with it, not only its measurements")
    leads, subtracted = _leads(path, sections[3])
    body = sections[6]
    quantum, interval, difference, bimodal = struct.unpack_from("<HHBB", body)
    if subtracted or bimodal:
        refuse(
            path,
            f"is packed by {'reference beat subtraction' if subtracted else 'bimodal compression'}",
            WITHOUT_COMPRESSION,
        )
    if not quantum or not interval or difference > 2:
        refuse(path, f"{quantum} nV a count, {interval} µs a sample, difference {difference} in section 6")
    sizes = struct.unpack_from(f"<{len(leads)}H", body, 6)
    place = 6 + 2 * len(leads)
    if place + sum(sizes) > len(body):
        refuse(path, f"{sum(sizes):,} bytes of samples announced, {len(body) - place:,} in section 6")
    first = min(lead.start for lead in leads)
    span = max(lead.stop for lead in leads) - first
    announced = sum(lead.stop - lead.start for lead in leads)
    if span > announced or span * len(leads) > MOST_VALUES or announced > 8 * sum(sizes):
        refuse(path, f"{announced:,} samples over {span:,} in {sum(sizes):,} bytes announced")
    tables = _tables(path, sections[2]) if 2 in sections else None
    if tables is not None and announced > MOST_SYMBOLS:
        refuse(path, f"{announced:,} samples, at most {MOST_SYMBOLS:,} are read", "export a shorter part of it")

    notes: list[str] = []
    rows: list[np.ndarray] = []
    for lead, size in zip(leads, sizes):
        count = lead.stop - lead.start
        part = body[place : place + size]
        place += size
        if tables is not None:
            values = _decode(path, part, count, tables)
        else:
            values = np.frombuffer(part, "<i2", size // 2).astype(np.int64)
            # The field for the size of a lead ends at 65,535: longer ones are cut there.
            if abs(count - len(values)) > 1 and not (len(values) < count and size >= LONGEST_LEAD):
                refuse(path, f"{count:,} samples of a lead announced, {len(values):,} there")
            if count - len(values) > 1:
                notes = [f"The file announces {count} samples of a lead and has {len(values)}; those it has are read."]
        if not len(values):
            refuse(path, "a lead without samples")
        rows.append(_summed(path, values, difference))
    span = max(lead.start - first + len(row) for row, lead in zip(rows, leads))
    signal = np.full((len(leads), span), np.nan, np.float32)
    for line, row, lead in zip(signal, rows, leads):
        line[lead.start - first : lead.start - first + len(row)] = row * (quantum * 1e-6)
    if any(lead.start != first for lead in leads):
        notes.append("The leads were not recorded at the same time; where one was not recorded it is missing.")
    if 5 in sections:
        notes.append("The reference beat of section 5 is left out.")
    facts, damage = _facts(sections.get(1, b""))
    return Recording(signal, 1e6 / interval, tuple(lead.name for lead in leads), notes=tuple(notes + damage), **facts)


def _sections(path: str, data: bytes) -> dict[int, bytes]:
    """The sections by number, without their heads, all checksums compared."""
    if data[16:22] != MARK:
        refuse(
            path,
            "has no mark SCPECG where EN 1064 wants it",
            "export it as EN 1064 or in another format",
        )
    checksum, length = struct.unpack_from("<HI", data)
    if length != len(data):
        refuse(path, f"{len(data):,} bytes, {length:,} announced")
    if checksum != binascii.crc_hqx(data[2:], 0xFFFF):
        refuse(path, "the checksum of the file is wrong")
    number, index = _section(path, data, 6, 0)
    if number != 0:
        refuse(path, f"section {number} stands where section 0 must")
    sections: dict[int, bytes] = {}
    for number, length, place in _POINTER.iter_unpack(index[: len(index) // _POINTER.size * _POINTER.size]):
        if number and length:
            if number in sections:
                refuse(path, f"has section {number} twice")
            found, sections[number] = _section(path, data, place - 1, length)
            if found != number:
                refuse(path, f"section {found} stands where section {number} must")
    return sections


def _section(path: str, data: bytes, place: int, announced: int) -> tuple[int, bytes]:
    """Number and content of the section at ``place``."""
    if not 0 <= place <= len(data) - _HEAD.size:
        refuse(path, f"a section at byte {place:,} of {len(data):,}")
    checksum, number, length, *_ = _HEAD.unpack_from(data, place)
    if not _HEAD.size <= length <= len(data) - place or announced not in (0, length):
        refuse(path, f"section {number} of {length:,} bytes at byte {place:,} of {len(data):,}")
    if checksum != binascii.crc_hqx(data[place + 2 : place + length], 0xFFFF):
        refuse(path, f"the checksum of section {number} is wrong")
    return number, data[place + _HEAD.size : place + length]


def _leads(path: str, body: bytes) -> tuple[list[Lead], bool]:
    """The leads, and whether a reference beat was subtracted from them."""
    count, flags = body[0], body[1]
    leads = []
    for lead in range(count):
        start, end, number = struct.unpack_from("<IIB", body, 2 + 9 * lead)
        if not start < end:
            refuse(path, f"lead {number} from sample {start} to {end}")
        # Counted from 1, the last included; some count from 0 and give the number of samples.
        leads.append(Lead(LEAD_NAMES.get(number, f"SCP lead {number}"), start, end + 1 if start else end))
    if not leads or len({lead.name for lead in leads}) < count:
        refuse(path, "no lead in section 3" if not leads else "the same lead twice in section 3")
    return leads, bool(flags & 1)


def _tables(path: str, body: bytes) -> list[Table]:
    (count,) = struct.unpack_from("<H", body)
    if count == DEFAULT_TABLES:
        return [default_table()]
    tables = []
    place = 2
    for _ in range(count):
        (structures,) = struct.unpack_from("<H", body, place)
        place += 2
        codes: dict[str, Code] = {}
        for _ in range(structures):
            prefix, total, mode, value, bits = struct.unpack_from("<BBBhI", body, place)
            place += 9
            following = total - prefix
            if not 0 < prefix <= 32 or not 0 <= following <= 16 or (following and (value or not mode)):
                refuse(
                    path,
                    f"a Huffman code of {prefix} of {total} bits, mode {mode}, base {value}",
                    "export it with the default table",
                )
            if not mode and not 0 < value <= count:
                refuse(path, f"a Huffman code that goes on with table {value} of {count}")
            codes[f"{bits:032b}"[::-1][:prefix]] = Code(value, following, not mode)
        if len(codes) != structures:
            refuse(path, "a Huffman table with a code twice")
        tables.append(Table(codes))
    if not tables:
        refuse(path, "no Huffman table in section 2")
    return tables


def _decode(path: str, part: bytes, count: int, tables: list[Table]) -> np.ndarray:
    """So many values from the bits of a lead."""
    bits = f"{int.from_bytes(part, 'big'):0{8 * len(part)}b}" if part else ""
    values = np.empty(count, np.int64)
    table = tables[0]
    place = done = 0
    while done < count:
        found = table.match(bits, place)
        if found is None:
            refuse(path, f"{done:,} of {count:,} samples of a lead can be decoded")
        place = found.end()
        code = table.codes[found.group()]
        if code.switches:
            table = tables[code.value - 1]
            continue
        value = code.value
        if code.following:
            text = bits[place : place + code.following]
            place += code.following
            if len(text) < code.following:
                refuse(path, f"{done:,} of {count:,} samples of a lead can be decoded")
            value = int(text, 2) - (1 << code.following if text[0] == "1" else 0)
        values[done] = value
        done += 1
    return values


def _summed(path: str, values: np.ndarray, difference: int) -> np.ndarray:
    """Samples from their differences; the first one or two are samples themselves."""
    if difference == 2 and len(values) > 1:
        slopes = np.concatenate([[values[1] - values[0]], values[2:]]).cumsum()
        values = values[0] + np.concatenate([[0], slopes.cumsum()])
    elif difference == 1:
        values = values.cumsum()
    if len(values) and max(-int(values.min()) - 1, int(values.max())) >= 1 << 15:
        refuse(path, "the differences add up to more than 16 bits hold")
    return values


def _facts(body: bytes) -> tuple[dict[str, Any], list[str]]:
    """What section 1 says, as fields of a recording, and notes."""
    fields: dict[int, bytes] = {}
    place = 0
    damage = ["The facts of section 1 are damaged and left out."]
    while place < len(body) and body[place] != 255:
        if place + 3 > len(body):
            return {}, damage
        tag, size = struct.unpack_from("<BH", body, place)
        place += 3 + size
        if place > len(body):
            return {}, damage
        fields.setdefault(tag, body[place - size : place])
    start = _moment(fields.get(25, b""), fields.get(26, b""))
    age = age_between(_moment(fields.get(5, b"")), start)
    if age is None and len(fields.get(4, b"")) == 3:
        years, unit = struct.unpack("<HB", fields[4])
        age = plausible_age(years * _YEARS[unit]) if unit in _YEARS and years else None
    return {
        "start": start,
        "sex": {b"\x01": "M", b"\x02": "F"}.get(fields.get(8, b"")),
        "age": age,
        "device": _device(fields.get(14, b"")),
        "filters": _filters(fields),
    }, []


def _moment(day: bytes, time: bytes = b"") -> datetime | None:
    if len(day) != 4:
        return None
    return moment(*struct.unpack("<HBB", day), *(time if len(time) == 3 else b""))


def _device(field: bytes) -> str:
    """Manufacturer and model: the last of the texts at the end, and six characters at a fixed place."""
    texts = field[36 + field[35] :].split(b"\0") if len(field) > 36 else []
    words = [texts[3] if len(texts) > 3 else b"", field[8:14].split(b"\0")[0]]
    return " ".join("".join(filter(str.isprintable, word.decode("latin-1"))).strip() for word in words).strip()


def _filters(fields: dict[int, bytes]) -> str:
    words = []
    for tag, name, unit in ((27, "high-pass", 0.01), (28, "low-pass", 1.0)):
        if len(fields.get(tag, b"")) == 2 and any(fields[tag]):
            words.append(f"{name} {int.from_bytes(fields[tag], 'little') * unit:g} Hz")
    if len(fields.get(29, b"")) == 1:
        words += [name for bit, name in enumerate(_FILTERS) if fields[29][0] >> bit & 1]
    return ", ".join(words)
