"""Which column of an unlabelled recording is which limb lead, from the arithmetic between the leads.

Of the six limb leads only two are independent: III = II − I (Einthoven), aVR = −(I + II)/2, aVL = I − II/2 and
aVF = II − I/2 (Goldberger). Of the 720 orders of six columns one fits. So ``preprocess/code_test.py`` finds the order of
CODE-test, whose two descriptions contradict each other.
Whether a single recording obeys them is asked in :mod:`cmelt_plugin.data.plausibility`.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.limb_leads import COEFFICIENTS, LIMB_LEADS, RELATIONS, RESIDUAL
from cmelt_plugin.errors import DataError

_ORDERS = np.array(list(permutations(range(6))))  # [720, 6]: column of I, II, III, aVR, aVL, aVF

MIN_ADVANTAGE = 2.0  # times that the next best order must be worse


class LeadFit(NamedTuple):
    """How well the columns obey the relations in one order.

    Attributes:
        names: name of each of the six columns.
        residual: root mean square of what the relations leave over, as a share of that of the leads: 0 = exact,
            about 1 = unrelated signals; median over the records.
        per_relation: the same for each of :data:`RELATIONS`.
        next_best: residual of the second-best order.
        records: recordings that could be used.
    """

    names: tuple[str, ...]
    residual: float
    per_relation: tuple[float, ...]
    next_best: float
    records: int


def fit_limb_leads(signals: np.ndarray) -> LeadFit:
    """The order in which six columns obey Einthoven's and Goldberger's relations.

    Recordings with a missing value or a constant lead are left out. What zero padding there is does not matter: it obeys
    the relations. Constant offsets of a lead are removed. Residuals are medians over the recordings, so that less than
    half of them may be faulty.

    Args:
        signals: ``[N, 6, T]``, any unit; N ≥ 1, better hundreds.

    Raises:
        DataError: no order fits (with the residuals of the best), two fit equally well, or no recording can be used.
    """
    signals = np.asarray(signals)
    if signals.ndim != 3 or signals.shape[1] != 6:
        raise ValueError(f"signals {signals.shape}, expected [N, 6, T]")
    grams = _correlations(signals)
    if not len(grams):
        raise DataError(
            f"the lead order cannot be found: each of the {len(signals)} recordings has a constant limb lead or missing values"
        )
    errors = np.empty((len(grams), len(_ORDERS), 4))  # mean square of what each relation leaves over
    for number, order in enumerate(_ORDERS):
        part = grams[:, order[:, None], order[None, :]]
        errors[:, number] = np.einsum("ra,nab,rb->nr", COEFFICIENTS, part, COEFFICIENTS)
    errors = np.sqrt(np.maximum(errors, 0))
    residual = np.median(np.sqrt((errors**2).mean(axis=2)), axis=0)
    best, second = np.argsort(residual, kind="stable")[:2]
    names = [""] * 6
    for lead, column in zip(LIMB_LEADS, _ORDERS[best]):
        names[column] = lead
    fit = LeadFit(
        tuple(names), float(residual[best]), tuple(np.median(errors[:, best], axis=0)), float(residual[second]), len(grams)
    )
    if fit.residual > RESIDUAL:
        raise DataError(f"the limb leads obey Einthoven's and Goldberger's relations in no order; {describe_fit(fit)}")
    if fit.next_best < MIN_ADVANTAGE * fit.residual or fit.next_best < RESIDUAL / 10:
        raise DataError(f"the order of the limb leads is ambiguous; {describe_fit(fit)}")
    return fit


def describe_fit(fit: LeadFit) -> str:
    """One line about a fit: the order and its residuals in per cent."""
    relations = ", ".join(f"{relation}: {100 * error:.2g} %" for relation, error in zip(RELATIONS, fit.per_relation))
    return (
        f"best order {', '.join(fit.names)}: {100 * fit.residual:.2g} % left over ({relations}), next best order "
        f"{100 * fit.next_best:.2g} %, median of {fit.records} recordings"
    )


def _correlations(signals: np.ndarray) -> np.ndarray:
    """Products of the six leads with each other, ``[M, 6, 6]`` with mean square 1, of the M recordings that can be used."""
    grams = []
    for record in signals:
        record = np.asarray(record, dtype=np.float64)
        if not np.isfinite(record).all():
            continue
        real = record.any(axis=0)  # padding would otherwise become an offset when the mean is taken away
        record = record[:, real]
        if record.shape[1] < 2 or (np.ptp(record, axis=1) == 0).any():
            continue
        record = record - record.mean(axis=1, keepdims=True)
        gram = record @ record.T
        grams.append(gram / np.trace(gram) * 6)
    return np.array(grams).reshape(-1, 6, 6)
