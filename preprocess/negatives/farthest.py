"""The farthest reports as negatives (C-MELT section 3.2), by an exact or an approximate search."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmelt_plugin.errors import DataError
from preprocess.negatives.inner_product_search import InvertedLists, Search, exact_search, recall
from preprocess.negatives.mining import usable_k

EXACT, IVF = INDEXES = ("exact", "ivf")
RECALL_REPORTS = 256
"""Reports on which the recall of an approximate search is measured."""


def metric_name(index: str = EXACT, nlist: int | None = None, nprobe: int | None = None) -> str:
    """What a description of negatives says about the search: other settings, other text; for ``exact`` always the same."""
    if index == EXACT:
        return "cosine distance"
    return f"cosine distance, approximate (IVF, nlist {nlist or 'default'}, nprobe {nprobe or 'default'})"


class Farthest:
    """The ``k`` reports of largest cosine distance (C-MELT section 3.2), nearest last.

    The search is one for the largest inner product with the negated query. ``exact`` runs on the CPU through FAISS; on a GPU
    through FAISS where it was built for one, else through PyTorch. ``ivf`` looks through a part of FAISS's inverted lists, on
    the CPU; how much of the exact result it finds is measured on a sample of the reports before the search.

    Attributes:
        info: how was searched, for the description of the negatives: ``index``; for ``ivf`` also ``nlist``, ``nprobe``,
            ``recall`` (share of the ``k`` farthest that are found) and ``recall_reports`` (size of the sample).
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        k: int,
        block: int = 4096,
        *,
        device: str = "auto",
        index: str = EXACT,
        nlist: int | None = None,
        nprobe: int | None = None,
        seed: int = 1,
    ) -> None:
        """Build the index.

        Args:
            embeddings: float32 ``[n, d]``, rows of unit norm (or zero).
            k: negatives per report, cut to ``n - 1``.
            block: queries searched at once.
            device: of the exact search: ``cpu``, ``cuda``, …, or ``auto``, a GPU where there is one.
            index: ``exact`` or ``ivf``.
            nlist: inverted lists, cut to ``n``; None: four times the root of ``n``.
            nprobe: inverted lists looked through per report, cut to all of them; None: a sixteenth, at least 64.
            seed: of the inverted lists and of the sample that the recall is measured on.

        Raises:
            DataError: FAISS is not installed, fewer than two reports, no such index or device, or numbers below 1.
        """
        if index not in INDEXES:
            raise DataError(f"index must be one of {', '.join(INDEXES)}, not {index!r}")
        if index == EXACT and (nlist is not None or nprobe is not None):
            raise DataError("nlist and nprobe are settings of the ivf index")
        self.embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        n = len(self.embeddings)
        self.k = usable_k(k, n)
        self.blocks = [np.arange(start, min(start + block, n)) for start in range(0, n, block)]
        self.info: dict[str, Any] = {"index": index}
        if index == EXACT:
            self._search: Search = exact_search(self.embeddings, device)
            return
        lists = InvertedLists(self.embeddings, nlist, nprobe, seed)
        self._search = lists
        self.info.update(nlist=lists.nlist, nprobe=lists.nprobe, **self._measure_recall(seed, device))

    def draw(self, index: int) -> np.ndarray:
        """Negatives of one block, int32 ``[rows, k]``."""
        return self._farthest(self._search, self.blocks[index]).astype(np.int32)

    def accept(self, index: int, picks: np.ndarray) -> None:
        """Nothing to remember: blocks do not depend on each other."""

    def _farthest(self, search: Search, rows: np.ndarray) -> np.ndarray:
        # One more than needed: the report itself can come up where most reports coincide.
        indices = search.search(-self.embeddings[rows], self.k + 1)
        itself = indices == rows[:, None]
        itself[~itself.any(axis=1), -1] = True
        return indices[~itself].reshape(len(rows), self.k)

    def _measure_recall(self, seed: int, device: str) -> dict[str, Any]:
        n = len(self.embeddings)
        rows = np.sort(np.random.default_rng([seed, 3]).choice(n, min(n, RECALL_REPORTS), replace=False))
        exact = exact_search(self.embeddings, device)
        similarity, expected = (self._similarity(rows, self._farthest(search, rows)) for search in (self._search, exact))
        return {"recall": recall(-similarity, -expected), "recall_reports": len(rows)}

    def _similarity(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.stack([self.embeddings[other] @ self.embeddings[row] for row, other in zip(rows, others)])
