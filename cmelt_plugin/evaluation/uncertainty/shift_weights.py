"""How much likelier each calibration recording is in other data: weights for promises under covariate shift.

A logistic regression tells calibration recordings from those of the other data by their embeddings; the odds, corrected for
both numbers, are the ratio of densities (Bickel et al. 2009). Each recording's odds come from the folds without its subject.
As the ratio is estimated, so is the promise that rests on it (Tibshirani et al. 2019).
"""

from __future__ import annotations

import numpy as np

from cmelt_plugin.errors import DataError

LARGEST = 10.0
"""Weights are cut here, and a promise counts the next subject with this weight."""
FOLDS = 5


def shift_weights(
    points: np.ndarray, group: np.ndarray, other: np.ndarray, largest: float = LARGEST, seed: int = 0
) -> np.ndarray:
    """
    Args:
        points: ``[N, D]`` embeddings of the calibration records.
        group: ``[N]``, number of each one's subject.
        other: ``[M, D]`` embeddings of records as they will come; no labels are needed.
        largest: at which weights are cut.
        seed: of the folds.

    Returns:
        float64 ``[N]`` of mean 1 before the cut, from 0 to ``largest``.

    Raises:
        DataError: less than two subjects, or less than two other records.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n_subjects = int(group.max()) + 1
    folds = min(FOLDS, n_subjects, len(other))
    if folds < 2:
        raise DataError(
            f"weights for other data need two subjects to calibrate on and two other records at least, not {n_subjects} and "
            f"{len(other)}; leave out --target"
        )
    rng = np.random.default_rng(seed)
    fold = rng.permutation(n_subjects)[group] % folds
    other_fold = rng.permutation(len(other)) % folds
    log_odds = np.empty(len(points))
    for number in range(folds):
        inside = fold == number
        x = np.concatenate([points[~inside], other[other_fold != number]])
        y = np.repeat([0, 1], [int((~inside).sum()), int((other_fold != number).sum())])
        # Strong regularisation: a ratio of densities that the data do not support stays 1.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(x, y)
        log_odds[inside] = model.decision_function(points[inside]) + np.log((y == 0).sum() / (y == 1).sum())
    weights = np.exp(np.clip(log_odds, -50, 50))
    return np.minimum(weights / weights.mean(), largest)
