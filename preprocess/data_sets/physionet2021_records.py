"""The records of the PhysioNet/CinC Challenge 2021: finding them, their headers, and reading them in segments."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from cmelt_plugin.data.readers.challenge_files import header_lines
from cmelt_plugin.data.readers.contract import ALL, Reading, Recording, Rejected, Span, takes_reading
from cmelt_plugin.data.readers.folders import find_stems
from cmelt_plugin.data.readers.wfdb_records import rate_and_samples, read_wfdb
from cmelt_plugin.errors import DataError
from preprocess.data_sets.physionet2021_labels import split_codes

LAYOUT = "the training folder of the PhysioNet/CinC Challenge 2021: records NAME.hea and NAME.mat below it"
SOURCES = (
    "cpsc_2018",
    "cpsc_2018_extra",
    "st_petersburg_incart",
    "ptb",
    "ptb-xl",
    "georgia",
    "chapman_shaoxing",
    "ningbo",
)
OTHER = "other"
PTB_XL = "ptb-xl"
OLDEST = 90.0  # years; PTB-XL hides higher ages as 300

_SOURCE_OF_LETTERS = {
    "A": "cpsc_2018",
    "Q": "cpsc_2018_extra",
    "I": "st_petersburg_incart",
    "S": "ptb",
    "HR": PTB_XL,
    "E": "georgia",
}
_LAST_OF_CHAPMAN = 10646  # JS00001 to JS10646 are Chapman-Shaoxing, the 34,905 up to JS45551 Ningbo
_COMMENT = re.compile(r"#\s*(Age|Sex|Dx)\s*:\s*(.*)")
_SPAN = re.compile(r"(?P<file>.*)#(?P<start>\d+):(?P<stop>\d+)$", re.DOTALL)


class Header(NamedTuple):
    """What a header says of a recording; ``samples`` 0 where it cannot be read."""

    name: str
    path: str
    """Relative to the root, without extension."""
    source: str
    rate: float
    samples: int
    sex: str
    age: float
    codes: tuple[str, ...]


class Segment(NamedTuple):
    """A part of a recording, and what the reader needs to find it."""

    record_id: str
    path: str
    header: Header


def source_of(path: str) -> str:
    """Source of a record from the folders of its path, else from its name; ``other`` where neither tells."""
    *folders, name = path.split("/")
    for folder in reversed(folders):
        if folder.lower() in SOURCES:
            return folder.lower()
    match = re.fullmatch(r"([A-Z]+)(\d+)", name)
    if match is None:
        return OTHER
    if match[1] == "JS":
        return "chapman_shaoxing" if int(match[2]) <= _LAST_OF_CHAPMAN else "ningbo"
    return _SOURCE_OF_LETTERS.get(match[1], OTHER)


def find_records(root: Path) -> list[str]:
    """Paths below ``root`` without extension, sorted: everything that has a header or a signal file.

    Raises:
        DataError: there is no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected {LAYOUT}")
    stems = find_stems(root, (".hea", ".mat"))
    if not stems:
        raise DataError(f"{root}: no records; expected {LAYOUT}")
    return stems


def read_header(root: Path, path: str) -> Header:
    """Rate, length, sex, age and diagnoses of a recording; a header that cannot be read is left to the packing to reject."""
    name, source = path.rpartition("/")[2], source_of(path)
    lines = header_lines(os.path.join(root, path))
    try:
        rate, samples = rate_and_samples(os.path.join(root, path))
    except Rejected:
        rate, samples = 0.0, 0
    comments = {match[1]: match[2] for match in map(_COMMENT.match, lines) if match}
    return Header(
        name,
        path,
        source,
        rate,
        samples,
        {"m": "M", "f": "F"}.get(comments.get("Sex", "").strip()[:1].lower(), ""),
        _age(comments.get("Age", "")),
        tuple(split_codes(comments.get("Dx", ""))),
    )


def segments_of(header: Header, seconds: float) -> list[Segment]:
    """Whole segments of a recording, one after the other; one shorter than that, or unreadable, is a single segment."""
    length = round(seconds * header.rate)
    count = header.samples // length if length else 0
    if count == 0:
        span = f"#0:{header.samples}" if header.samples else ""
        return [Segment(f"{header.name}#0", header.path + span, header)]
    return [Segment(f"{header.name}#{k}", f"{header.path}#{k * length}:{(k + 1) * length}", header) for k in range(count)]


@takes_reading
def read_segment(path: str, reading: Reading = ALL) -> Recording:
    """Read part of a recording: ``PATH#START:STOP`` in samples of the original, or ``PATH`` for all of it.

    Raises:
        Rejected: as :func:`cmelt_plugin.data.readers.wfdb_records.read_wfdb`, or the recording is shorter than its header says.
    """
    match = _SPAN.match(path)
    if match is None:
        return read_wfdb(path, reading)
    span = Span(int(match["start"]), int(match["stop"]))
    segment = read_wfdb(match["file"], reading._replace(part=span))
    if reading.part is None:
        return segment
    samples = span.stop - span.start
    start, stop = reading.span(samples, segment.rate)
    return segment._replace(signal=segment.signal[:, start:stop], samples=reading.total(samples))


def _age(text: str) -> float:
    try:
        age = float(text)
    except ValueError:
        return float("nan")
    return min(age, OLDEST) if age >= 0 else float("nan")
