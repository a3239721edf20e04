"""Which reports serve as negatives of which: the search behind ``preprocess/n3s.py``, on embeddings alone.

A strategy offers ``blocks`` (row indices, every row once), ``draw(i)`` (negatives of block ``i``) and ``accept(i, picks)``
(called in order, also for blocks that were read from a cache instead of drawn), so that a killed run can go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Callable, Protocol

import numpy as np

from cmelt_plugin.errors import DataError


class Strategy(Protocol):
    """How :func:`find_negatives` asks for negatives."""

    blocks: Sequence[np.ndarray]
    k: int

    def draw(self, index: int) -> np.ndarray:
        """Negatives of the rows ``blocks[index]``: int32 ``[rows, k]`` of row indices."""

    def accept(self, index: int, picks: np.ndarray) -> None:
        """Take note of the negatives of block ``index``, before the next block is drawn."""


def usable_k(k: int, n_reports: int) -> int:
    """``k`` cut to the number of other reports.

    Raises:
        DataError: fewer than two reports, so that there is no negative at all, or ``k`` below 1.
    """
    if n_reports < 2:
        raise DataError(f"{n_reports} unique report(s): negatives need at least 2")
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}")
    return min(k, n_reports - 1)


def find_negatives(
    strategy: Strategy,
    load: Callable[[int], np.ndarray | None] = lambda index: None,
    store: Callable[[int, np.ndarray], None] = lambda index, picks: None,
    progress: Callable[[Sequence[int]], Iterable[int]] = lambda items: items,
) -> np.ndarray:
    """Run a strategy over all its blocks.

    Args:
        strategy: see above.
        load: returns the negatives of a block computed earlier, or None.
        store: keeps the negatives of a block just computed.
        progress: wraps the sequence of block numbers (``tqdm``).

    Returns:
        int32 ``[n, k]`` of row indices; no row holds itself.
    """
    table = np.full((sum(len(rows) for rows in strategy.blocks), strategy.k), -1, dtype=np.int32)
    for index in progress(range(len(strategy.blocks))):
        picks = load(index)
        if picks is None:
            picks = strategy.draw(index)
            store(index, picks)
        strategy.accept(index, picks)
        table[strategy.blocks[index]] = picks
    return table
