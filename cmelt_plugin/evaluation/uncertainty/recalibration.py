"""From scores to probabilities, fitted on data that training did not see: temperature, Platt, isotonic.

Temperature (Guo et al. 2017): one factor on the logits of all classes. Platt (1999): slope and intercept of each class, with
Platt's targets (P + 1) / (P + 2) and 1 / (Q + 2) of P positives and Q negatives, so that separable scores get no infinite
slope. Isotonic (Zadrozny and Elkan 2002): the rising curve of least squares, of each class, kept away from 0 and 1 by 1 / (n
+ 2). None of them changes the order of recordings within a class, but for ties; a score that ranks a class the wrong way
round gets the class's frequency as everybody's probability.
"""

from __future__ import annotations

import numpy as np

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.inference.calibration import (
    ISOTONIC,
    PLATT,
    TEMPERATURE,
    Curve,
    curve_probabilities,
    sigmoid,
)

FEWEST = 2
"""Records with a class, and without it, from which on it gets probabilities of its own."""
FOLDS = 5


def fit_curves(
    labels: np.ndarray, scores: np.ndarray, method: str, base: tuple[float, float] | None = None
) -> list[Curve | None]:
    """A curve for each class.

    Args:
        labels: ``[N, C]`` 1/0, NaN = unknown.
        scores: ``[N, C]``.
        method: one of :data:`cmelt_plugin.models.inference.calibration.METHODS`.
        base: temperature: factor and offset that make logits of the scores; None: they are no logits.

    Returns:
        C curves; None for a class with less than :data:`FEWEST` records of either kind (with ``temperature``: none at all).

    Raises:
        DataError: temperature, and the scores are no logits.
        ValueError: no such method.
    """
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    known = ~np.isnan(labels)
    if method == TEMPERATURE:
        return _temperature(labels, scores, known, base)
    fit = {PLATT: _platt, ISOTONIC: _isotonic}.get(method)
    if fit is None:
        raise ValueError(f"method {method!r}")
    curves: list[Curve | None] = []
    for column in range(labels.shape[1]):
        label, score = labels[known[:, column], column], scores[known[:, column], column]
        few = min(int((label > 0.5).sum()), int((label <= 0.5).sum())) < FEWEST
        curves.append(None if few else fit(label > 0.5, score))
    return curves


def held_out_probabilities(
    labels: np.ndarray,
    scores: np.ndarray,
    group: np.ndarray,
    method: str,
    base: tuple[float, float] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> np.ndarray:
    """Probabilities ``[N, C]`` of each record by curves of the other folds; all records of a subject are in one fold.

    Args:
        labels, scores, method, base: as :func:`fit_curves`.
        group: ``[N]``, number of each record's subject.
        folds: parts that the subjects are divided into.
        seed: of the division.

    A class that some fold has no curve for has none at all (NaN): the folds that are left would be those without its
    positives, and look better than the class is.
    """
    fold = np.random.default_rng(seed).permutation(int(group.max()) + 1)[group] % folds
    result = np.full(np.shape(scores), np.nan)
    for number in range(folds):
        inside = fold == number
        if inside.any() and not inside.all():
            curves = fit_curves(labels[~inside], scores[~inside], method, base)
            result[inside] = curve_probabilities(curves, scores[inside])
    result[:, np.isnan(result).any(axis=0)] = np.nan
    return result


def _temperature(
    labels: np.ndarray, scores: np.ndarray, known: np.ndarray, base: tuple[float, float] | None
) -> list[Curve | None]:
    from scipy.optimize import minimize_scalar

    if base is None:
        raise DataError(
            "--method temperature: these scores are no logits, and one factor makes no probabilities of them; use platt"
        )
    logits, targets = (base[0] * scores + base[1])[known], labels[known]
    if not len(targets):
        return [None] * labels.shape[1]

    def loss(log_factor: float) -> float:
        scaled = np.exp(log_factor) * logits
        return float((np.logaddexp(0, scaled) - targets * scaled).mean())

    factor = float(np.exp(minimize_scalar(loss, bounds=(-7, 7), method="bounded").x))
    return [Curve(factor * base[0], factor * base[1]) for _ in range(labels.shape[1])]


def _platt(positive: np.ndarray, score: np.ndarray) -> Curve:
    from scipy.optimize import minimize

    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    targets = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    centre, width = float(score.mean()), float(score.std()) or 1.0
    x = (score - centre) / width

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        z = values[0] * x + values[1]
        residual = sigmoid(z) - targets
        return float((np.logaddexp(0, z) - targets * z).mean()), np.array([(residual * x).mean(), residual.mean()])

    share = targets.mean()
    start = np.array([0.0, np.log(share / (1 - share))])
    slope, intercept = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]).x
    return Curve(float(slope / width), float(intercept - slope * centre / width))


def _isotonic(positive: np.ndarray, score: np.ndarray) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(score) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(score, positive.astype(np.float64))
    knots = (tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_)))
    return Curve(knots=knots)
