"""Which WFDB records are meant by what a user types."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cmelt_plugin.errors import DataError

_SUFFIXES = (".hea", ".dat", ".mat")


def record_stem(path: str | os.PathLike) -> str:
    """Path of a record without the suffix of its header or signal file."""
    text = os.fspath(path)
    return next((text[: -len(suffix)] for suffix in _SUFFIXES if text.endswith(suffix)), text)


def find_records(names: Iterable[str]) -> list[str]:
    """Paths of records without suffix, in the order given, each once.

    Args:
        names: paths of records (with or without ``.hea``) or of files of other formats, patterns (``data/*.hea``,
            ``data/**/*.hea``), folders (searched for headers, with their folders) or ``@FILE``, a text file with one path a
            line, relative to that file. What exists under just this name is meant before a pattern or a list.

    Raises:
        DataError: a pattern, folder or list without a record. A single record need not exist: reading it says so.
    """
    stems: dict[str, None] = {}
    for name in names:
        paths: Sequence[str]
        if os.path.isdir(name):
            paths = sorted(str(path) for path in Path(name).rglob("*.hea"))
        elif _is_record(name):
            paths = [name]
        elif name.startswith("@"):
            paths = _listed(Path(name[1:]))
        elif glob.has_magic(name):
            # A pattern for all files of a folder means its records.
            paths = sorted(filter(_is_record, _matches(name)))
        else:
            paths = [name]
        if not paths:
            raise DataError(f"{name}: no WFDB record there (a record has a header, NAME.hea)")
        # A file that is there and has no header is one of another format, with its suffix.
        stems.update(dict.fromkeys(path if _is_other_file(path) else record_stem(path) for path in paths))
    return list(stems)


def _is_record(path: str) -> bool:
    # os.path, unlike pathlib, answers for names that no file can have, too.
    return os.path.isfile(f"{record_stem(path)}.hea")


def _is_other_file(path: str) -> bool:
    return os.path.isfile(path) and not _is_record(path)


def _matches(pattern: str) -> Iterator[str]:
    """Files that match; folders that exist by just the name written are not taken for a pattern."""
    parts = pattern.split(os.sep)
    start = 0
    while start < len(parts) - 1 and (parts[start] in ("", ".", "..") or os.path.isdir(os.sep.join(parts[: start + 1]))):
        start += 1
    literal = os.sep.join([*parts[:start], ""]) if start else ""
    rest = parts[start:]
    if "**" not in rest:
        yield from glob.iglob(glob.escape(literal) + os.sep.join(rest))
        return
    deep = rest.index("**")
    below = os.sep.join(rest[deep + 1 :]) or "*"
    tops = glob.iglob(glob.escape(literal) + os.sep.join([*rest[:deep], ""])) if deep else [literal]
    for top in tops:
        for folder in _folders(top or os.curdir):
            folder = "" if folder == os.curdir else os.path.join(folder, "")
            yield from _matches_below(folder, below)


def _matches_below(folder: str, pattern: str) -> Iterator[str]:
    if "**" in pattern.split(os.sep):
        yield from _matches(folder + pattern)
    else:
        yield from glob.iglob(glob.escape(folder) + pattern)


def _folders(top: str) -> Iterator[str]:
    """A folder and all below it, links included, but each only once, as links may lead back."""
    seen: set[tuple[int, int]] = set()
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield folder
        try:
            entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
        except PermissionError:
            continue
        prefix = "" if folder == os.curdir else folder
        waiting += [os.path.join(prefix, name) for name in reversed(entries)]


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file; it must hold the path of one record a line") from None
    return [record for line in lines if (record := _record_of_line(path.parent, line.rstrip("\r"))) is not None]


def _record_of_line(folder: Path, line: str) -> str | None:
    """The record a line names, None for empty lines and comments. Blanks around it count where the record has them."""
    literal = os.path.join(folder, line)
    if line.strip() and _is_record(literal):
        return literal
    line = line.strip()
    return os.path.join(folder, line) if line and not line.startswith("#") else None
