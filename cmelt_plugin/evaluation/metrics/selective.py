"""What is gained by leaving the least certain records to somebody else: risk against coverage.

At coverage k/N the k least uncertain records are decided. The selective risk is their mean loss (Geifman and El-Yaniv 2017),
the generalised risk their summed loss over all N records (Traub et al. 2024): what goes wrong unnoticed. The areas under both
curves, AURC and AUGRC, are means over k = 1 … N. Records of equal uncertainty come in a random order: the curves are those
expected over all orders, so that an uncertainty that says nothing is no better or worse than chance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class RiskCoverage(NamedTuple):
    """The curves of N records.

    Attributes:
        coverage: float64 ``[N]``, 1/N … 1.
        risk: ``[N]``, mean loss of the records decided.
        generalised_risk: ``[N]``, their summed loss over N.
        aurc, augrc: areas under both.
    """

    coverage: np.ndarray
    risk: np.ndarray
    generalised_risk: np.ndarray
    aurc: float
    augrc: float


def risk_coverage(loss: np.ndarray, uncertainty: np.ndarray) -> RiskCoverage:
    """
    Args:
        loss: ``[N]``, how wrong each record is, from 0.
        uncertainty: ``[N]``, larger = decided later.

    Raises:
        ValueError: no record, shapes differ, or a value is NaN.
    """
    loss, uncertainty = np.asarray(loss, dtype=np.float64), np.asarray(uncertainty, dtype=np.float64)
    if loss.ndim != 1 or loss.shape != uncertainty.shape or not len(loss):
        raise ValueError(f"losses {loss.shape} and uncertainties {uncertainty.shape}")
    if np.isnan(loss).any() or np.isnan(uncertainty).any():
        raise ValueError("a loss or an uncertainty is NaN")
    # Expected over the orders of equals, each of them has their mean loss.
    _, tie, count = np.unique(uncertainty, return_inverse=True, return_counts=True)
    mean = np.bincount(tie, weights=loss) / count
    summed = np.cumsum(np.repeat(mean, count))
    n = np.arange(1, len(loss) + 1)
    risk, generalised = summed / n, summed / len(loss)
    return RiskCoverage(n / len(loss), risk, generalised, float(risk.mean()), float(generalised.mean()))


def random_areas(loss: np.ndarray) -> tuple[float, float]:
    """AURC and AUGRC of a random order, in expectation."""
    curves = risk_coverage(loss, np.zeros(len(loss)))
    return curves.aurc, curves.augrc


def best_areas(loss: np.ndarray) -> tuple[float, float]:
    """AURC and AUGRC of an uncertainty that knows the losses: no order is better."""
    curves = risk_coverage(loss, loss)
    return curves.aurc, curves.augrc


def mistakes_avoided(curves: RiskCoverage, referred: float) -> float:
    """Share of all loss that lies in the most uncertain share ``referred`` of the recordings, which somebody else decides.

    Of a random order it is ``referred`` itself; NaN where nothing is lost.
    """
    total = curves.generalised_risk[-1]
    kept = round((1 - referred) * len(curves.coverage))
    if not total:
        return float("nan")
    return float(1 - (curves.generalised_risk[kept - 1] if kept else 0.0) / total)
