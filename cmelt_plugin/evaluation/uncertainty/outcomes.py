"""What an evaluation said of each record, as metrics of any part of the records."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.multi_label import balanced_accuracy, decide, macro_auc
from cmelt_plugin.evaluation.metrics.regression import regression_metrics
from cmelt_plugin.evaluation.metrics.uncertainty import Metric
from cmelt_plugin.evaluation.result_files import RANKS_FILE, VALUES_FILE, StoredResult

REMEDY = "run the evaluation again"
AUC, BALANCED = "macro_auc", "balanced_accuracy"
MAE, R2 = "mae", "r2"
DEPTHS = (1, 5)  # k of the recalls


class Outcome(NamedTuple):
    """N records of one result.

    Attributes:
        record_id: N strings.
        metrics: name → metric of some of the rows.
        error: name → float64 ``[N]``, by how much each record is wrong.
    """

    record_id: list[str]
    metrics: dict[str, Metric]
    error: dict[str, np.ndarray]


def read_outcome(stored: StoredResult) -> Outcome:
    """The outcome of a classification, a regression or a retrieval.

    Raises:
        DataError: the folder keeps nothing record by record, or a file in it is damaged.
    """
    values = stored.arrays(VALUES_FILE, ("record_id", "target", "value"), REMEDY)
    if values is not None:
        return _regression(*values)
    ranks = stored.arrays(RANKS_FILE, ("record_id", "names", "ranks"), REMEDY)
    if ranks is not None:
        return _retrieval(*ranks)
    scores = stored.scores()
    if scores is None:
        raise DataError(f"{stored.folder}: keeps no scores, values or ranks of records; {REMEDY}")
    thresholds = [stored.result.per_class.get(name, {}).get("threshold", np.nan) for name in scores.names]
    known = np.flatnonzero(~np.isnan(scores.labels).all(axis=1))  # of the others nothing is right or wrong
    record_id = [scores.record_id[row] for row in known.tolist()]
    return _classification(record_id, scores.labels[known], scores.scores[known], list(scores.names), np.array(thresholds))


def _regression(record_id: np.ndarray, target: np.ndarray, value: np.ndarray) -> Outcome:
    def metric(name: str) -> Metric:
        return lambda rows: regression_metrics(target[rows], value[rows])[name]

    return Outcome(record_id.tolist(), {name: metric(name) for name in (MAE, R2)}, {"absolute error": np.abs(value - target)})


def _retrieval(record_id: np.ndarray, names: np.ndarray, ranks: np.ndarray) -> Outcome:
    def recall(row: int, depth: int) -> Metric:
        return lambda rows: float((ranks[row][rows] <= depth).mean())

    metrics = {f"{name}_r{depth}": recall(row, depth) for row, name in enumerate(names.tolist()) for depth in DEPTHS}
    return Outcome(record_id.tolist(), metrics, {f"{name} rank": ranks[row] for row, name in enumerate(names.tolist())})


def _classification(
    record_id: list[str], labels: np.ndarray, scores: np.ndarray, names: list[str], thresholds: np.ndarray
) -> Outcome:
    metrics: dict[str, Metric] = {AUC: lambda rows: macro_auc(labels[rows], scores[rows], names).macro}
    decided = ~np.isnan(thresholds)
    if not decided.any():
        return Outcome(record_id, metrics, {})
    known, decisions = labels[:, decided], decide(scores, thresholds)[:, decided]
    metrics[BALANCED] = lambda rows: balanced_accuracy(known[rows], decisions[rows])
    wrong = np.where(np.isnan(known), np.nan, (known == 1) != decisions)
    some = ~np.isnan(wrong).all(axis=1)
    share = np.full(len(wrong), np.nan)  # unknown of every class that has a threshold
    share[some] = np.nanmean(wrong[some], axis=1)
    return Outcome(record_id, metrics, {"wrong decisions": share})
