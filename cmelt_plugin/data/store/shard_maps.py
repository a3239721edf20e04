"""Memory-mapped shards, a bounded number of them at a time."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from typing import Callable

import numpy as np

try:
    import resource
except ImportError:  # not a Unix system
    resource = None

FEWEST, MOST, UNKNOWN_LIMIT = 16, 4096, 1024


class MappedShard:
    """The rows of one shard, read through a map of its file.

    Args:
        data: the whole file.
        offset: where its rows begin, in bytes.
        row_shape: of one int16 row.
    """

    def __init__(self, data: mmap.mmap, offset: int, row_shape: tuple[int, ...]) -> None:
        self.rows = np.frombuffer(data, dtype="<i2", offset=offset).reshape(-1, *row_shape)
        self._data = data
        self._offset = offset
        self._row_bytes = self.rows.itemsize * int(np.prod(row_shape))

    def prefetch(self, row: int) -> None:
        """Ask the system to read a row ahead."""
        start = self._offset + row * self._row_bytes
        aligned = start - start % mmap.PAGESIZE
        self._data.madvise(mmap.MADV_WILLNEED, aligned, start + self._row_bytes - aligned)


def most_maps() -> int:
    """Shards a store keeps mapped: a quarter of the files this process may open, each map holding a descriptor.

    So the stores of a training and of two validation sets, read by one process, still leave it a quarter.
    """
    limit = UNKNOWN_LIMIT if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < 0:  # RLIM_INFINITY
        return MOST
    return min(max(limit // 4, FEWEST), MOST)


def parts_of_few(shards: list[int], most: int) -> Iterator[slice]:
    """Cut a list of shards, in order, into parts that name at most ``most`` different ones; mostly there is one part."""
    start = 0
    if len(set(shards)) > most:
        named: set[int] = set()
        for end, shard in enumerate(shards):
            if shard not in named and len(named) == most:
                yield slice(start, end)
                start, named = end, set()
            named.add(shard)
    yield slice(start, len(shards))


class ShardMaps:
    """The shards used last. One that is dropped is unmapped once nobody looks at its rows any more.

    Attributes:
        most: shards kept.
    """

    def __init__(self) -> None:
        self.most = most_maps()
        self._maps: dict[int, MappedShard] = {}  # least recently used first

    def __len__(self) -> int:
        return len(self._maps)

    def get(self, shards: Iterable[int], open_shard: Callable[[int], MappedShard]) -> dict[int, MappedShard]:
        """Shards by number, at most ``most`` of them; those that are not mapped are opened, in place of the oldest."""
        # Threads may share a store: the answer holds its shards itself, whatever another thread drops meanwhile.
        found = {shard: self._maps.pop(shard, None) for shard in shards}
        excess = len(self._maps) + len(found) - self.most
        for oldest in list(self._maps)[: max(excess, 0)]:
            self._maps.pop(oldest, None)
        for shard, mapped in found.items():
            found[shard] = self._maps[shard] = open_shard(shard) if mapped is None else mapped
        return found
