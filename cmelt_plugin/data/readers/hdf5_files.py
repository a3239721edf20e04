"""HDF5 files that may come from anywhere: only numbers that lie in the file itself are read.

HDF5 can keep an array in any other file ("external storage"), assemble it from other files ("virtual data sets") and refer to
other files by links. All three are refused: they would read what the user never named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py

from cmelt_plugin.data.readers.contract import Rejected, check_file, file_name

LARGEST_CHUNK = 128 << 20  # bytes; HDF5 unpacks a whole chunk to read one number of it
MOST_ITEMS = 10_000
DEEPEST = 32  # groups within groups


@contextmanager
def open_hdf5(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Open a regular file.

    Raises:
        Rejected: not a regular file.
        OSError: not an HDF5 file (without ``errno``), or from the system.
    """
    check_file(path)
    with h5py.File(path, "r") as file:
        yield file


def names_in(file: h5py.File) -> list[str]:
    """Names of the data sets of a file, by hard links only, each once, in the order of their groups.

    Raises:
        ValueError: more than :data:`MOST_ITEMS`, or nested deeper than :data:`DEEPEST`.
    """
    names: list[str] = []
    seen = {_address(file)}
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    count = 0
    while waiting:
        prefix, item, depth = waiting.pop()
        if isinstance(item, h5py.Dataset):
            names.append(prefix)
            continue
        inner = []
        for name in item:
            count += 1
            if count > MOST_ITEMS or depth > DEEPEST:
                raise ValueError(f"more than {MOST_ITEMS} items or {DEEPEST} levels")
            if name.startswith("#") or not isinstance(item.get(name, getlink=True), h5py.HardLink):  # "#refs#" of MATLAB
                continue
            member = item[name]
            if isinstance(member, (h5py.Dataset, h5py.Group)) and _address(member) not in seen:
                seen.add(_address(member))
                inner.append((f"{prefix}/{name}" if prefix else name, member, depth + 1))
        waiting += reversed(inner)
    return names


def dataset_of(file: h5py.File, name: str) -> h5py.Dataset | None:
    """The data set ``name`` (``group/name``), checked; None where there is none.

    Raises:
        Rejected: it lies in another file, or in chunks too large to be read.
    """
    item: Any = file
    where = file_name(file.filename)
    for part in filter(None, name.split("/")):
        if not isinstance(item, h5py.Group):
            return None
        link = item.get(part, getlink=True, default=None)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise Rejected("unreadable", f"{where}: {name} is a link; only arrays in the file itself are read")
        item = item[part]
    if not isinstance(item, h5py.Dataset):
        return None
    properties = item.id.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        raise Rejected("unreadable", f"{where}: {name} lies in other files; only arrays in the file itself are read")
    if properties.get_layout() == h5py.h5d.CHUNKED:
        size = item.id.get_type().get_size()
        for length in properties.get_chunk():
            size *= int(length)
        if size > LARGEST_CHUNK:
            raise Rejected("large", f"{where}: {name} has chunks of {size:,} bytes")
    elif properties.get_layout() == h5py.h5d.CONTIGUOUS and item.shape:
        announced, there = item.size * item.id.get_type().get_size(), item.id.get_storage_size()
        if there < announced:
            raise Rejected("truncated", f"{where}: {name} has {there:,} bytes where {announced:,} are announced")
    return item


def _address(item: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr
