"""Which reports serve as negatives of which: the search behind ``preprocess/n3s.py``, on embeddings alone.

A strategy offers ``blocks`` (row indices, every row once), ``draw(i)`` (negatives of block ``i``) and ``accept(i, picks)``
(told in order, also about blocks that were read from a cache instead of drawn), so that a killed run can go on.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    progress: Callable[[Sequence], Sequence] = lambda items: items,
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


class Farthest:
    """The ``k`` reports of largest cosine distance, exactly (C-MELT section 3.2), nearest last.

    The search is FAISS's exact inner-product search with the negated query, on the first GPU when FAISS was built for one.
    """

    def __init__(self, embeddings: np.ndarray, k: int, block: int = 4096, gpu: bool = True) -> None:
        """Build the index.

        Args:
            embeddings: float32 ``[n, d]``, rows of unit norm (or zero).
            k: negatives per report, cut to ``n - 1``.
            block: queries searched at once.
            gpu: use a GPU when FAISS sees one.

        Raises:
            DataError: FAISS is not installed, or fewer than two reports.
        """
        try:
            import faiss
        except ImportError:
            raise DataError("the farthest strategy needs FAISS: pip install faiss-cpu") from None
        self.embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        n, width = self.embeddings.shape
        self.k = usable_k(k, n)
        self.blocks = [np.arange(start, min(start + block, n)) for start in range(0, n, block)]
        self.index = faiss.IndexFlatIP(width)
        if gpu and getattr(faiss, "get_num_gpus", lambda: 0)() > 0:
            self.index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, self.index)
        self.index.add(self.embeddings)

    def draw(self, index: int) -> np.ndarray:
        """Negatives of one block, int32 ``[rows, k]``."""
        rows = self.blocks[index]
        # One more than needed: the report itself can come up where most reports coincide.
        _, found = self.index.search(-self.embeddings[rows], self.k + 1)
        itself = found == rows[:, None]
        itself[~itself.any(axis=1), -1] = True
        return found[~itself].reshape(len(rows), self.k).astype(np.int32)

    def accept(self, index: int, picks: np.ndarray) -> None:
        """Nothing to remember: blocks do not depend on each other."""
