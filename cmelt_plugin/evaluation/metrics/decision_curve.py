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
    if not cost > 0:
        raise ValueError(f"cost {cost}: must be above 0")
    known = ~(np.isnan(label) | np.isnan(probability))
    positive, called = label[known] > 0.5, probability[known] >= 1 / (1 + cost)
    if not len(positive):
        return NetBenefit(float("nan"), float("nan"))
    found, alarms = (positive & called).mean(), (~positive & called).mean()
    return NetBenefit(float(found - alarms / cost), float(positive.mean() - (~positive).mean() / cost))
