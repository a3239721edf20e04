"""Searches for the rows of largest inner product: exact through FAISS or PyTorch, approximate through FAISS's inverted lists.

Each has ``search(queries, k)``: indices int64 ``[rows, k]`` of the ``k`` largest inner products with float32 queries
``[rows, d]``. Which of several equal ones is found is left open.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch

from cmelt_plugin.errors import DataError

FAISS, TORCH = "faiss", "torch"
COLUMNS = 65_536
"""Rows compared with a block of queries at once on a device: 4,096 queries then need 1 GB for the similarities."""
POINTS_PER_LIST = 64
"""Rows of the training sample per inverted list; FAISS asks for at least 39."""
LEAST_PROBES = 64
"""Lists searched by default where a sixteenth is less: a small split costs little and deserves a good recall."""
ITERATIONS = 10
"""Of k-means."""
REACH = 3.0
"""How many standard deviations from its centre a list is expected to reach. Of synthetic embeddings
(benchmarks/cases/ivf_recall.py) FAISS's own choice of lists, by the distance of their centres, finds as much where these are 64
wide (97.8 % of 100,000 × 64), and less where they are as wide as text encoders make them (81.8 % against 89.3 % of
100,000 × 384, in the same time)."""
BLOCK_BYTES = 64 << 20
"""What inverted lists are filled from at once."""


class Search(Protocol):
    """See the top of this file."""

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Indices int64 ``[rows, k]``."""


def exact_search(vectors: np.ndarray, device: str = "auto") -> Search:
    """The exact search that a device offers: FAISS on the CPU, and on a GPU where it was built for one; else PyTorch.

    Args:
        vectors: float32 ``[n, d]``, C order.
        device: ``cpu``, ``auto`` (the first GPU where there is one), or a device of PyTorch.

    Raises:
        DataError: no such device, or FAISS is needed and not installed.
    """
    library, device = choose_library(device, torch.cuda.is_available(), _faiss_sees_a_gpu())
    if device == "cpu":
        return FaissSearch(vectors)
    try:
        torch_device = torch.device(device)
        if library == FAISS:
            return FaissSearch(vectors, torch_device.index or 0)
        torch.zeros(1, device=torch_device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"device {device}: {str(error).splitlines()[0]}") from None
    return TorchSearch(vectors, torch_device)


def choose_library(device: str, torch_has_gpu: bool, faiss_has_gpu: bool) -> tuple[str, str]:
    """The library that searches on a device, and the device, where ``auto`` becomes a GPU if either library sees one."""
    if device == "auto":
        device = "cuda" if torch_has_gpu or faiss_has_gpu else "cpu"
    on_gpu = device.split(":")[0] == "cuda"
    return FAISS if device == "cpu" or (on_gpu and faiss_has_gpu) else TORCH, device


class FaissSearch:
    """FAISS's exact search, on the CPU without a copy of the vectors, or on a GPU."""

    def __init__(self, vectors: np.ndarray, gpu: int | None = None) -> None:
        """Args: ``vectors`` float32 ``[n, d]``, C order; ``gpu``: its number, None for the CPU."""
        self.faiss = _import_faiss()
        self.vectors = vectors
        self.index: Any = None
        if gpu is not None:
            self.index = self.faiss.index_cpu_to_gpu(
                self.faiss.StandardGpuResources(), gpu, self.faiss.IndexFlatIP(vectors.shape[1])
            )
            self.index.add(vectors)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Indices int64 ``[rows, k]``, largest inner product first."""
        if self.index is not None:
            return self.index.search(queries, k)[1]
        # What IndexFlatIP calls, without the copy of all vectors that the index would hold.
        return self.faiss.knn(queries, self.vectors, k, metric=self.faiss.METRIC_INNER_PRODUCT)[1]


class TorchSearch:
    """Exact search by matrix products and ``topk``, a block of columns at a time, in full float32.

    Vectors that would take more than half of a GPU's free memory stay in the host's and are sent block by block.
    """

    def __init__(self, vectors: np.ndarray, device: torch.device | str, columns: int = COLUMNS) -> None:
        """Args: ``vectors`` float32 ``[n, d]``; ``device``: where to compute; ``columns``: see :data:`COLUMNS`."""
        self.device, self.columns = torch.device(device), columns
        self.vectors = torch.from_numpy(vectors)
        if self.device.type == "cuda" and vectors.nbytes <= torch.cuda.mem_get_info(self.device)[0] // 2:
            self.vectors = self.vectors.to(self.device)

    @torch.no_grad()
    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Indices int64 ``[rows, k]``, largest inner product first."""
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # TF32 would not be exact
        try:
            placed = torch.from_numpy(queries).to(self.device)
            best = placed.new_empty(len(placed), 0)
            indices = torch.empty(len(placed), 0, dtype=torch.int64, device=self.device)
            for start in range(0, len(self.vectors), self.columns):
                similarity = placed @ self.vectors[start : start + self.columns].to(self.device).T
                values, columns = similarity.topk(min(k, similarity.shape[1]), dim=1)
                best, chosen = torch.cat([best, values], dim=1).topk(min(k, best.shape[1] + values.shape[1]), dim=1)
                indices = torch.cat([indices, columns + start], dim=1).gather(1, chosen)
            return indices.cpu().numpy()
        finally:
            torch.set_float32_matmul_precision(precision)


class InvertedLists:
    """FAISS's ``IndexIVFFlat``: vectors in ``nlist`` lists around k-means centres, of which ``nprobe`` are searched.

    Farthest reports are at the edges of their lists, so lists are chosen not by ``query @ centre`` alone but by that plus
    :data:`REACH` times the list's standard deviation along a direction. A column more does it: 1 for queries, 0 for vectors.

    Beside the vectors given it holds a copy of them, 12 bytes a row and the centres; while it is built also a sample of
    ``64 * nlist`` rows, 16 bytes a row and two blocks of 64 MB.

    Attributes:
        nlist, nprobe: those used.
    """

    def __init__(self, vectors: np.ndarray, nlist: int | None = None, nprobe: int | None = None, seed: int = 1) -> None:
        """Find the centres on a sample and fill the lists.

        Args:
            vectors: float32 ``[n, d]``, C order.
            nlist: cut to ``n``; None: four times the root of ``n``.
            nprobe: lists searched per query, cut to ``nlist``; None: a sixteenth of it, at least 64.
            seed: of the sample and the first centres.

        Raises:
            DataError: FAISS is not installed, or ``nlist`` or ``nprobe`` is below 1.
        """
        faiss = _import_faiss()
        n, width = vectors.shape
        if (nlist is not None and nlist < 1) or (nprobe is not None and nprobe < 1):
            raise DataError(f"nlist {nlist} and nprobe {nprobe}: must be at least 1")
        self.nlist = min(n, math.ceil(4 * math.sqrt(n)) if nlist is None else nlist)
        self.nprobe = min(self.nlist, max(LEAST_PROBES, self.nlist // 16) if nprobe is None else nprobe)
        self._parameters = faiss.SearchParametersIVF
        centres = self._centres(faiss, vectors, seed)
        block = max(1, BLOCK_BYTES // (4 * width))
        parts = [slice(start, start + block) for start in range(0, n, block)]

        nearest = faiss.IndexFlatL2(width)
        nearest.add(centres)
        lists, squared = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.float32)
        for part in parts:
            distance, nearest_list = nearest.search(vectors[part], 1)
            lists[part], squared[part] = nearest_list[:, 0], np.maximum(distance[:, 0], 0)
        sizes = np.bincount(lists, minlength=self.nlist)
        deviation = np.sqrt(np.bincount(lists, weights=squared, minlength=self.nlist) / np.maximum(sizes, 1) / width)

        self._quantizer = faiss.IndexFlatIP(width + 1)
        self._quantizer.add(_with_column(centres, REACH * deviation))
        self.index = faiss.IndexIVFFlat(self._quantizer, width + 1, self.nlist, faiss.METRIC_INNER_PRODUCT)
        self.index.is_trained = True
        # Lists that grow by doubling would take up to twice the memory; an emptied one keeps its room.
        for number, size in enumerate(sizes.tolist()):
            self.index.invlists.resize(number, size)
            self.index.invlists.resize(number, 0)
        for part in parts:
            rows, chosen = _with_column(vectors[part], 0), lists[part]
            self.index.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(chosen))

    def _centres(self, faiss: Any, vectors: np.ndarray, seed: int) -> np.ndarray:
        """Float32 ``[nlist, d]``."""
        n, size = len(vectors), POINTS_PER_LIST * self.nlist
        sample = vectors
        if n > size:
            sample = vectors[np.sort(np.random.default_rng([seed, 2]).choice(n, size, replace=False))]
        points = {"min_points_per_centroid": 1, "max_points_per_centroid": POINTS_PER_LIST}
        means = faiss.Kmeans(vectors.shape[1], self.nlist, niter=ITERATIONS, seed=seed, **points)
        means.train(sample)
        return means.centroids

    def search(self, queries: np.ndarray, k: int, nprobe: int | None = None) -> np.ndarray:
        """Indices int64 ``[rows, k]``, largest inner product first; ``nprobe`` None: the one of the constructor.

        Queries whose lists hold fewer than ``k`` vectors are searched again in more lists.
        """
        probes = self.nprobe if nprobe is None else nprobe
        queries = _with_column(queries, 1)
        indices = self.index.search(queries, k, params=self._parameters(nprobe=probes))[1]
        short = np.flatnonzero((indices < 0).any(axis=1))
        while len(short) and probes < self.nlist:
            probes = min(4 * probes, self.nlist)
            indices[short] = self.index.search(queries[short], k, params=self._parameters(nprobe=probes))[1]
            short = short[(indices[short] < 0).any(axis=1)]
        return indices


def recall(similarity_found: np.ndarray, similarity_exact: np.ndarray, tolerance: float = 1e-5) -> float:
    """Share of the rows found that are among the true ones, rows as similar as the last true one included.

    Args:
        similarity_found: ``[rows, k]`` inner products of the rows found.
        similarity_exact: ``[rows, k]`` of the true ones.
        tolerance: of the inner products.
    """
    threshold = similarity_exact.min(axis=1, keepdims=True) - tolerance
    return float((similarity_found >= threshold).mean())


def _with_column(vectors: np.ndarray, last: Any) -> np.ndarray:
    """Float32 ``[rows, d + 1]`` with ``last``, a number or ``[rows]``, in the new column."""
    result = np.empty((len(vectors), vectors.shape[1] + 1), dtype=np.float32)
    result[:, :-1], result[:, -1] = vectors, last
    return result


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise DataError("the farthest strategy needs FAISS: pip install faiss-cpu") from None
    return faiss


def _faiss_sees_a_gpu() -> bool:
    try:
        import faiss
    except ImportError:
        return False
    return getattr(faiss, "get_num_gpus", lambda: 0)() > 0
