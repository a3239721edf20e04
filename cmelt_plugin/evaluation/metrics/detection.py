"""Whether a score tells recordings that a model should not be asked about from ordinary ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cmelt_plugin.evaluation.metrics.multi_label import rank_auc

ACCEPTED = 0.95


class Detection(NamedTuple):
    """How well foreign recordings stand out.

    Attributes:
        auroc: chance that a foreign recording has a larger score than an ordinary one, equal ones counting half.
        fpr95: share of foreign recordings that pass where 95 % of the ordinary ones do (FPR95).
        threshold: the largest score that passes there.
    """

    auroc: float
    fpr95: float
    threshold: float


def detection(ordinary: np.ndarray, foreign: np.ndarray, accepted: float = ACCEPTED) -> Detection:
    """
    Args:
        ordinary: ``[N]`` scores of recordings like those the model knows; larger = more foreign.
        foreign: ``[M]`` scores of others.
        accepted: share of the ordinary recordings that must pass.

    Raises:
        ValueError: one of both is empty, or holds NaN.
    """
    ordinary, foreign = np.asarray(ordinary, dtype=np.float64), np.asarray(foreign, dtype=np.float64)
    if not len(ordinary) or not len(foreign) or np.isnan(ordinary).any() or np.isnan(foreign).any():
        raise ValueError(f"{len(ordinary)} ordinary and {len(foreign)} foreign scores: needs some of both, without NaN")
    target = np.concatenate([np.zeros(len(ordinary), dtype=bool), np.ones(len(foreign), dtype=bool)])
    # The smallest score that as many as asked for do not exceed; a share such as 0.95 · 20 must not round up to 20 of 20.
    rank = int(np.ceil(accepted * len(ordinary) - 1e-9))
    threshold = float(np.sort(ordinary)[max(rank, 1) - 1])
    passed = float((foreign <= threshold).mean())
    return Detection(rank_auc(target, np.concatenate([ordinary, foreign])), passed, threshold)
