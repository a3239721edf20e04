"""Changing files of a manifest directory: one command at a time, and never with a checksum that is not the file's."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, FORMAT, Entry, fingerprint, list_checksum, read_checksums
from cmelt_plugin.data.files import write_json
from cmelt_plugin.errors import DataError

LOCK_SECONDS = 60.0
_held: set[tuple[int, int, int, int]] = set()


@contextmanager
def directory_lock(directory: str | os.PathLike, seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock on the directory itself, made where missing; file systems without locks are trusted.

    Within a lock that this thread holds already, it does nothing.

    Args:
        directory: what is to be changed.
        seconds: how long to wait for another command.

    Raises:
        DataError: another command has not finished in that time.
    """
    Path(directory).mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        key = (os.getpid(), threading.get_ident(), status.st_dev, status.st_ino)
        if key in _held:
            yield
            return
        _lock(descriptor, directory, seconds)
        _held.add(key)
        try:
            yield
        finally:
            _held.discard(key)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: str | os.PathLike, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise DataError(f"{directory}: another run is writing here; wait for it or choose another folder") from None
            time.sleep(0.1)
            continue
        except OSError:
            pass
        return


@contextmanager
def replacing(directory: str | os.PathLike, names: Iterable[str]) -> Iterator[None]:
    """Write, replace or delete these files of a directory inside; its list of checksums follows.

    The files are off the list while they change, so that a kill leaves files that are not listed and never a false alarm.
    A directory without ``checksums.json`` stays so.

    Raises:
        DataError: the list is damaged, or another command is writing here.
    """
    directory, names = Path(directory), sorted(set(names))
    with directory_lock(directory, LOCK_SECONDS):
        before = read_checksums(directory)
        if before is None:
            yield
            return
        if before.keys() & set(names):
            write_checksums(directory, {name: entry for name, entry in before.items() if name not in names})
        done = False
        try:
            yield
            done = True
        finally:
            after = {name: entry for name, entry in before.items() if name not in names}
            for name in names:
                if (directory / name).is_file():
                    entry = entry_of(directory / name)
                    if done or entry == before.get(name):  # a failure may have left the old file, or half of a change
                        after[name] = entry
            write_checksums(directory, after)


def list_again(directory: str | os.PathLike, names: Iterable[str]) -> None:
    """Put files on the list that a run killed just before wrote whole, as their reader has found, but did not list.

    Raises:
        DataError: the list is damaged, or another command is writing here.
    """
    listed = read_checksums(Path(directory))
    missing = [] if listed is None else [name for name in names if name not in listed]
    if missing:
        with replacing(directory, missing):
            pass


def entry_of(path: Path) -> Entry:
    """Entry of a file as it is."""
    return Entry(path.stat().st_size, fingerprint(path))


def write_checksums(directory: str | os.PathLike, files: dict[str, Entry]) -> None:
    """Write ``checksums.json``, its names sorted."""
    files = dict(sorted(files.items()))
    values = {"format": FORMAT, "files": {name: entry._asdict() for name, entry in files.items()}}
    write_json(Path(directory) / CHECKSUMS_FILE, {**values, "checksum": list_checksum(files)})
