"""Checksums of the files of a manifest directory, ``checksums.json``: looked at whenever one of them is read.

``{"format": 1, "files": {name: {"bytes": n, "sha256": "sha256:..."}}, "checksum": "sha256:..."}``; the last is over the
canonical JSON of the rest. A file that is not listed (in directories made before the list existed, or after a command was
killed while it replaced the file) is read as it is. :mod:`cmelt_plugin.data.directory.replacing` keeps the list.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, TypeVar

from cmelt_plugin.errors import DataError

CHECKSUMS_FILE = "checksums.json"
MANIFEST_FILE = "manifest.json"
WORK_FOLDER = ".packing"
SWAP_FILE = "swap.json"
FORMAT = 1
MOST_REMEMBERED = 1024
SETTLED_NS = 2_000_000_000
"""A file younger than this may change once more without its times changing, whose resolution is a few milliseconds."""

T = TypeVar("T")


class Entry(NamedTuple):
    """What a file must be."""

    bytes: int
    sha256: str
    """``sha256:`` and 64 hex digits."""


_remembered: dict[str, tuple[tuple[Any, ...], Any]] = {}


def once(what: str, path: str | os.PathLike, read: Callable[[Any], T]) -> T:
    """``read`` of the open file; remembered for as long as the file's place, size and times stay the same."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would keep everybody waiting
        raise DataError(f"{path}: is not a file; remove it and write it again with the command that made it")
    with open(path, "rb") as handle:
        status = os.fstat(handle.fileno())
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        key = f"{what} {os.path.abspath(path)}"
        known = _remembered.get(key)
        if known is not None and known[0] == state:
            return known[1]
        settled = max(status.st_mtime_ns, status.st_ctime_ns) + SETTLED_NS < time.time_ns()
        value = read(handle)
    if settled:
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        _remembered[key] = state, value
    return value


def fingerprint(path: str | os.PathLike) -> str:
    """``sha256:`` and the hex digest of the file's bytes."""

    def digest_of(handle: Any) -> str:
        digest = hashlib.sha256()
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
        return "sha256:" + digest.hexdigest()

    return once("fingerprint", path, digest_of)


def list_checksum(files: dict[str, Entry]) -> str:
    """The list's checksum over itself."""
    values = {"format": FORMAT, "files": {name: entry._asdict() for name, entry in files.items()}}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_checksums(directory: str | os.PathLike) -> dict[str, Entry] | None:
    """The list of a directory, None where it has none.

    Raises:
        DataError: it is damaged, or of another format.
    """
    path = Path(directory) / CHECKSUMS_FILE
    try:
        return dict(once("list", path, lambda handle: _parse(handle.read())))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: damaged ({error}); copy it again, or list the files as they are, unchecked, with "
            f"`python -m cmelt_plugin.verify {directory} --accept '*'`"
        ) from None


def _parse(text: bytes) -> dict[str, Entry]:
    values = json.loads(text.decode("utf-8"))
    if values["format"] != FORMAT:
        raise ValueError(f"format {values['format']!r}, this version reads format {FORMAT}")
    files = {}
    for name, entry in values["files"].items():
        size, digest = entry["bytes"], entry["sha256"]
        if type(size) is not int or size < 0 or not isinstance(digest, str) or Path(name).name != name:
            raise ValueError(f"entry {name!r:.80} makes no sense")
        files[name] = Entry(size, digest)
    if values["checksum"] != list_checksum(files):
        raise ValueError("its checksum over itself is wrong")
    return files


def check_listed(path: str | os.PathLike, digest: str | None = None) -> bool:
    """Compare a file with its entry in the list of its folder; False where it has none.

    Args:
        path: the file.
        digest: its fingerprint, where the caller has read it anyway.

    Raises:
        DataError: the file is missing or another one than was written, or the list is damaged.
    """
    path = Path(path)
    files = read_checksums(path.parent)
    if files is None or path.name not in files:
        return False
    entry = files[path.name]
    mend = (
        f"copy it again, or write it again with the command that made it; if this is as you want it: "
        f"`python -m cmelt_plugin.verify {path.parent} --accept {path.name}`"
    )
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        raise DataError(f"{path}: missing, although {CHECKSUMS_FILE} lists it; {mend}") from None
    if size != entry.bytes:
        raise DataError(f"{path}: changed since it was written: {size} bytes, {CHECKSUMS_FILE} says {entry.bytes}; {mend}")
    if (digest or fingerprint(path)) != entry.sha256:
        raise DataError(f"{path}: changed since it was written: not the bytes {CHECKSUMS_FILE} lists; {mend}")
    return True


def is_listed(path: str | os.PathLike) -> bool:
    """Whether the list of the file's folder has an entry for it. Raises DataError like :func:`read_checksums`."""
    files = read_checksums(Path(path).parent)
    return files is not None and Path(path).name in files


def check_whole(directory: str | os.PathLike) -> None:
    """Refuse a directory whose files are being replaced by those of a finished packing.

    Raises:
        DataError: a packing command was killed (or is still at it) between the old files and the new ones.
    """
    work = Path(directory) / WORK_FOLDER
    if (work / SWAP_FILE).is_file() and (work / MANIFEST_FILE).is_file():
        raise DataError(
            f"{directory}: partly replaced by a packing command that was stopped; run the same command again, "
            "it finishes this in a moment"
        )
