"""Whether probabilities help to decide, where a missed class costs more than a false alarm (Vickers and Elkin 2006)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class NetBenefit(NamedTuple):
    """Found cases per record, less the false alarms at their price.

    Attributes:
        model: of calling a record positive from the threshold on.
        everybody: of calling every record positive; of nobody it is 0.
    """

    model: float
    everybody: float


def net_benefit(label: np.ndarray, probability: np.ndarray, cost: float) -> NetBenefit:
    """
    Args:
        label: ``[N]`` 0/1, NaN = unknown.
        probability: ``[N]``, NaN = none.
        cost: false alarms that one found case is worth; the probability from which on a record is called is 1 / (1 + cost).

    Raises:
        ValueError: the cost is not above 0.
    """
    return benefit_of_sums(benefit_cells(label, probability, cost).sum(axis=0), cost)


def benefit_cells(label: np.ndarray, probability: np.ndarray, cost: float) -> np.ndarray:
    """What records bring to the sums of :func:`benefit_of_sums`; arguments and errors of :func:`net_benefit`.

    Returns:
        bool ``[N, 4]``: known, positive, found, false alarm.
    """
    if not cost > 0:
        raise ValueError(f"cost {cost}: must be above 0")
    known = ~(np.isnan(label) | np.isnan(probability))
    positive, called = known & (label > 0.5), known & (probability >= 1 / (1 + cost))
    return np.stack([known, positive, positive & called, called & ~positive], axis=1)


def benefit_of_sums(sums: np.ndarray, cost: float) -> NetBenefit:
    """The net benefit from the sums ``[4]`` of :func:`benefit_cells`; NaN where no record is known."""
    known, positive, found, alarms = (float(one) for one in sums)
    if not known:
        return NetBenefit(float("nan"), float("nan"))
    return NetBenefit((found - alarms / cost) / known, (positive - (known - positive) / cost) / known)
