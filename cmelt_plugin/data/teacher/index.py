"""``index.tsv`` of a teacher sidecar: who each row is of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.errors import DataError

INDEX_FILE = "index.tsv"
COLUMNS = ("teacher_id", "row", "n_frames", "n_videos", "subject_id", "acq_time")
REQUIRED = COLUMNS[:5]


class IndexLine(NamedTuple):
    """A line of the index; fields as of :class:`cmelt_plugin.data.teacher.entries.TeacherEntry`."""

    teacher_id: str
    row: int
    n_frames: int
    n_videos: int
    subject_id: str
    acq_time: str = ""


def check_text(what: str, text: str) -> None:
    """Refuse what a line of the index cannot hold. Raises DataError."""
    if any(not char.isprintable() for char in text) or text != text.strip():
        raise DataError(f"{what} {text!r:.80}: has tabs, line breaks or blanks around it, which {INDEX_FILE} cannot hold")


def write_index(path: Path, lines: Sequence[IndexLine]) -> None:
    """Write ``index.tsv``."""
    with atomic_path(path) as temporary:
        text = "".join("\t".join(map(str, line)) + "\n" for line in [COLUMNS, *lines])
        temporary.write_text(text, encoding="utf-8")


def read_index(path: Path) -> list[IndexLine]:
    """The lines of ``index.tsv`` in the order of their rows.

    Raises:
        DataError: a column is missing, a line is malformed, an id or a row occurs twice, or rows are not 0, 1, …, N − 1.
    """
    try:
        head, *texts = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it belongs to a teacher sidecar") from None
    except ValueError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); write the sidecar again") from None
    names = head.rstrip("\r").split("\t")
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; its head must be {' '.join(COLUMNS)}, by tabs")
    while texts and not texts[-1]:
        texts.pop()
    lines = [_line(path, number, names, text.rstrip("\r")) for number, text in enumerate(texts, start=2)]
    if not lines:
        raise DataError(f"{path}: lists no echocardiogram; write the sidecar again")
    seen: dict[str | int, int] = {}
    for number, line in enumerate(lines, start=2):
        if line.row >= len(lines):
            raise DataError(f"{path}, line {number}: {line.teacher_id} has row {line.row}, there are {len(lines)} rows")
        for name, value in (("", line.teacher_id), ("row ", line.row)):
            if value in seen:
                raise DataError(f"{path}, line {number}: {name}{value} stands in line {seen[value]} already")
            seen[value] = number
    return sorted(lines, key=lambda line: line.row)


def _line(path: Path, number: int, names: Sequence[str], text: str) -> IndexLine:
    cells = text.split("\t")
    if len(cells) != len(names):
        raise DataError(f"{path}, line {number}: {len(cells)} cells, the head has {len(names)}")
    values = dict(zip(names, cells))
    counts = {}
    for name, least in (("row", 0), ("n_frames", 1), ("n_videos", 1)):
        cell = values[name]
        if not (cell.isascii() and cell.isdigit() and len(cell) < 19 and int(cell) >= least):
            raise DataError(f"{path}, line {number}: {name} is {cell!r:.40}, not an integer of at least {least}")
        counts[name] = int(cell)
    if not values["teacher_id"]:
        raise DataError(f"{path}, line {number}: no teacher_id")
    return IndexLine(values["teacher_id"], **counts, subject_id=values["subject_id"], acq_time=values.get("acq_time", ""))
