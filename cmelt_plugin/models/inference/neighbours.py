"""How far a recording lies from those that are known: the distance to its k-th nearest neighbour (Sun et al. 2022)."""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 10
_ROWS = 1024  # whose distances are in memory at once


def neighbour_distance(points: np.ndarray, known: np.ndarray, k: int = NEIGHBOURS, skip_self: bool = False) -> np.ndarray:
    """Euclidean distance of unit vectors to the k-th nearest of others.

    Args:
        points: float32 ``[N, D]``, of unit length.
        known: float32 ``[M, D]``, of unit length.
        k: which of the nearest; the farthest where there are fewer.
        skip_self: ``points`` are ``known``, and none is its own neighbour.

    Returns:
        float64 ``[N]``.

    Raises:
        ValueError: nothing is known, or widths differ.
    """
    rank = min(k, len(known) - skip_self)
    if rank < 1 or points.ndim != 2 or known.ndim != 2 or points.shape[1] != known.shape[1]:
        raise ValueError(f"points {points.shape}, known {known.shape}")
    known = known.astype(np.float64)  # in float32 near points would have distances of rounding alone
    result = np.empty(len(points))
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        cosine = points[rows].astype(np.float64) @ known.T
        if skip_self:
            own = np.arange(start, start + len(cosine))
            cosine[own - start, own] = -np.inf
        nearest = np.partition(cosine, len(known) - rank, axis=1)[:, len(known) - rank]
        result[rows] = np.sqrt(np.maximum(2.0 - 2.0 * nearest, 0.0))
    return result


def unit_rows(values: np.ndarray) -> np.ndarray:
    """The rows ``[N, D]`` at unit length, float32."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.maximum(length, 1e-12)).astype(np.float32)
