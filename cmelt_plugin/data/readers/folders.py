"""Finding files below a folder, through symbolic links, each folder and each record once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence


def walk(root: str | os.PathLike) -> Iterator[tuple[str, list[os.DirEntry]]]:
    """Each folder below ``root`` (relative path, "." = itself) with its entries that are no folders, sorted by name.

    A folder that links lead to in several ways is visited once, by its own path where that lies below ``root``; so links in
    a circle end. Folders that may not be read are passed over, as ``os.walk`` does.
    """
    seen: set[tuple[int, int]] = set()
    own = [os.path.normpath(os.fspath(root))]
    linked: list[str] = []
    while own or linked:
        folder = own.pop() if own else linked.pop(0)  # links last: by then the folders they lead to may be known
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        files = []
        folders = []
        for entry in inside:
            if not _is_folder(entry):
                files.append(entry)
            elif entry.is_symlink():
                linked.append(entry.path)
            else:
                folders.append(entry.path)
        own += reversed(folders)
        yield os.path.relpath(folder, root), files


def find_stems(root: str | os.PathLike, suffixes: Sequence[str]) -> list[str]:
    """Paths relative to ``root``, without suffix, of the files that have one of ``suffixes``; sorted.

    A record that links make appear under several paths is listed once, by its own where that lies below ``root``. Names that
    are no UTF-8 are left out, which is said on stderr.
    """
    suffixes = tuple(suffixes)
    own: set[str] = set()
    links: list[tuple[str, str]] = []
    for folder, files in walk(root):
        for entry in files:
            if not entry.name.endswith(suffixes):
                continue
            path = entry.name if folder == "." else f"{folder}/{entry.name}"
            if entry.is_symlink():
                links.append((path, os.path.realpath(entry.path)))
            else:
                own.add(_stem(path))
    if links:
        real = {folder: os.path.realpath(os.path.join(root, folder)) for folder in {os.path.dirname(stem) for stem in own}}
        known = {os.path.join(real[os.path.dirname(stem)], os.path.basename(stem)) for stem in own}
    first: dict[str, str] = {}
    for path, target in sorted(links):
        stem, target = _stem(path), _stem(target)
        # Under another name it is another record, which may share a file with the first.
        if os.path.basename(target) != os.path.basename(stem) or (
            target not in known and first.setdefault(target, stem) == stem
        ):
            own.add(stem)
    return _utf8(sorted(own))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle: a file that cannot be read
        return False


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]


def _utf8(paths: Iterable[str]) -> list[str]:
    good, bad = [], []
    for path in paths:
        try:
            path.encode("utf-8")
            good.append(path)
        except UnicodeEncodeError:
            bad.append(path)
    if bad:
        shown = bad[0].encode("utf-8", "backslashreplace").decode("utf-8")
        print(f"warning: {len(bad)} files whose names are not UTF-8 are left out, such as {shown}", file=sys.stderr)
    return good
