"""The records of the PhysioNet/CinC Challenge 2021: finding them, their headers, and reading them in segments."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cmelt_plugin.errors import DataError
from preprocess.physionet2021_labels import split_codes
from preprocess.recording import Recording, Rejected
from preprocess.wfdb_files import read_wfdb

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
_RECORD_LINE = re.compile(r"\S+ +\d+ +(?P<rate>\d+(?:\.\d+)?) +(?P<samples>\d+)(?: |$)")
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
    found = set()
    for folder, _, files in os.walk(root, followlinks=True):
        place = Path(folder).relative_to(root)
        found.update((place / name[:-4]).as_posix() for name in files if name.endswith((".hea", ".mat")))
    if not found:
        raise DataError(f"{root}: no records; expected {LAYOUT}")
    return sorted(found)


def read_header(root: Path, path: str) -> Header:
    """Rate, length, sex, age and diagnoses of a recording; a header that cannot be read is left to the packing to reject."""
    name, source = path.rpartition("/")[2], source_of(path)
    try:
        lines = (root / f"{path}.hea").read_bytes().decode("latin-1").splitlines()
    except FileNotFoundError:
        lines = []
    record = _RECORD_LINE.match(lines[0]) if lines else None
    comments = dict(match.groups() for match in map(_COMMENT.match, lines) if match)
    return Header(
        name,
        path,
        source,
        float(record["rate"]) if record else 0.0,
        int(record["samples"]) if record else 0,
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


def read_segment(path: str) -> Recording:
    """Read part of a recording: ``PATH#START:STOP`` in samples of the original, or ``PATH`` for all of it.

    The recording read last is kept, so that the segments of half an hour do not each read it anew.

    Raises:
        Rejected: as :func:`preprocess.wfdb_files.read_wfdb`, or the recording is shorter than its header says.
    """
    match = _SPAN.match(path)
    if match is None:
        return read_wfdb(path)
    whole = _read_whole(match["file"])
    start, stop = int(match["start"]), int(match["stop"])
    if whole.signal.shape[1] < stop:
        raise Rejected("truncated", f"{whole.signal.shape[1]} samples where the header announces {stop} or more")
    return whole._replace(signal=whole.signal[:, start:stop])


@lru_cache(maxsize=1)
def _read_whole(path: str) -> Recording:
    return read_wfdb(path)


def _age(text: str) -> float:
    try:
        age = float(text)
    except ValueError:
        return float("nan")
    return min(age, OLDEST) if age >= 0 else float("nan")
