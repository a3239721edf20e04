"""Whether attention over time lies where it should: the pointing game and the intersection over union with events.

Both are expectations where weights tie, so that uniform attention gets exactly what chance would.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import hypergeom

__all__ = ["event_mask", "iou", "pointing"]

_SAME = 6  # decimals, of the largest weight, to which weights are the same


def event_mask(events: Iterable[tuple[float, float]], n_steps: int, samples_per_step: float) -> np.ndarray:
    """Which steps in time have their middle inside an event: bool ``[n_steps]``; ``events``: onset and offset in samples."""
    middle = (np.arange(n_steps) + 0.5) * samples_per_step
    mask = np.zeros(n_steps, dtype=bool)
    for onset, offset in events:
        mask |= (onset <= middle) & (middle < offset)
    return mask


def pointing(weights: np.ndarray, mask: np.ndarray) -> float:
    """The pointing game (Zhang et al. 2018): 1 where the step of largest weight lies in an event, else 0.

    Args:
        weights: ``[T]``, not negative; of several steps with the largest weight each is as good.
        mask: bool ``[T]``, True = in an event.
    """
    weights = _comparable(weights)
    return float(mask[weights == weights.max()].mean())


def iou(weights: np.ndarray, mask: np.ndarray) -> float:
    """Intersection over union of the events' m steps with the m steps of largest weight, 0 … 1.

    Args:
        weights, mask: as :func:`pointing`; an event has at least one step. Among equal weights at the border any choice is as
            good.
    """
    m = int(mask.sum())
    if not m:
        raise ValueError("no step lies in an event")
    weights = _comparable(weights)
    border = np.partition(weights, len(weights) - m)[len(weights) - m]
    above, tied = weights > border, weights == border
    chosen = m - int(above.sum())  # of the tied ones
    right = int((above & mask).sum()) + np.arange(chosen + 1)
    chance = hypergeom.pmf(np.arange(chosen + 1), int(tied.sum()), int((tied & mask).sum()), chosen)
    return float((chance * right / (2 * m - right)).sum())


def _comparable(weights: np.ndarray) -> np.ndarray:
    """Without the differences that rounding makes between equal weights."""
    weights = np.asarray(weights, dtype=np.float64)
    return np.round(weights / max(weights.max(), np.finfo(float).tiny), _SAME)
