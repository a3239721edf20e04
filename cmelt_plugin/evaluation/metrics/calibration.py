"""Whether probabilities mean what they say: of the records with probability p, does a share p have the class?

Expected calibration error in 15 bins of equal width (Naeini et al. 2015, Guo et al. 2017), of each class by itself: its
probability against its label. Unknown labels (NaN) and classes without a probability (NaN) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cmelt_plugin.evaluation.metrics.bootstrap import percentile_interval, resampled_sums, subject_groups

N_BINS = 15
_CLASSES_AT_ONCE = 8  # whose sums are resampled together: bounds the memory
_LABEL_DRAWS = 200


class Reliability(NamedTuple):
    """One class in bins of its probability, all of equal width.

    Attributes:
        records: int64 ``[bins]``.
        probability: float64 ``[bins]``, mean; NaN in an empty bin.
        frequency: float64 ``[bins]``, share of records with the class; NaN in an empty bin.
    """

    records: np.ndarray
    probability: np.ndarray
    frequency: np.ndarray


class CalibrationMetrics(NamedTuple):
    """Metrics of all classes.

    Attributes:
        metrics: ``macro_ece``, ``macro_ece_perfect``, ``macro_brier``, ``macro_brier_prevalence`` and the same of each class
            (``ece/NAME``, …). ``perfect`` is what probabilities that mean what they say would get on so few records,
            ``prevalence`` what the class's frequency among these very records would get as everybody's probability.
        intervals: 95 % of the errors and Brier scores, subjects resampled.
        excluded: classes without a known label that has a probability.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    excluded: list[str]


def bins_of(probability: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """Number of the bin of each probability, int64: [0, 1/n), [1/n, 2/n), …, [(n − 1)/n, 1]."""
    return np.minimum((np.asarray(probability, dtype=np.float64) * n_bins).astype(np.int64), n_bins - 1)


def reliability(label: np.ndarray, probability: np.ndarray, n_bins: int = N_BINS) -> Reliability:
    """The bins of one class; ``label [N]`` 0/1/NaN, ``probability [N]``, NaN = none."""
    known = ~(np.isnan(label) | np.isnan(probability))
    count, positive, total = np.split(_bin_cells(label, probability, known, n_bins)[:, :-1].sum(axis=0), 3)
    with np.errstate(invalid="ignore"):
        return Reliability(count.astype(np.int64), total / count, positive / count)


def calibration_error(label: np.ndarray, probability: np.ndarray, n_bins: int = N_BINS) -> float:
    """Σ over bins of (records in the bin / all records) · |mean probability − frequency|; NaN without a record."""
    known = ~(np.isnan(label) | np.isnan(probability))
    return float(_errors_of_sums(_bin_cells(label, probability, known, n_bins).sum(axis=0))[0])


def perfect_error(probability: np.ndarray, n_bins: int = N_BINS, seed: int = 0) -> float:
    """The mean :func:`calibration_error` of labels drawn from the probabilities ``[N]`` themselves.

    Not 0: in a bin of few records the frequency differs from the probability by chance.
    """
    if not len(probability):
        return float("nan")
    bins = bins_of(probability, n_bins)
    expected = np.bincount(bins, weights=probability, minlength=n_bins)
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(_LABEL_DRAWS):
        drawn = rng.random(len(probability)) < probability
        errors.append(np.abs(np.bincount(bins[drawn], minlength=n_bins) - expected).sum() / len(probability))
    return float(np.mean(errors))


def calibration_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    subjects: Sequence[str] | None = None,
    n_bootstrap: int = 0,
    seed: int = 0,
    n_bins: int = N_BINS,
) -> CalibrationMetrics:
    """
    Args:
        labels: ``[N, C]`` 0/1, NaN = unknown.
        probabilities: ``[N, C]``, NaN = none.
        names: the C classes.
        subjects: N subject ids; None or empty ids: records count as subjects.
        n_bootstrap: resamples; 0: no intervals.
        seed: of the resamples.
        n_bins: of equal width.

    Raises:
        ValueError: shapes differ, or a probability lies outside 0 … 1.
    """
    labels, probabilities = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if labels.shape != probabilities.shape or labels.ndim != 2 or labels.shape[1] != len(names):
        raise ValueError(f"labels {labels.shape}, probabilities {probabilities.shape} and {len(names)} classes")
    if (probabilities < 0).any() or (probabilities > 1).any():
        raise ValueError("probabilities lie outside 0 … 1")
    known = ~(np.isnan(labels) | np.isnan(probabilities))
    columns: list[int] = np.flatnonzero(known.any(axis=0)).tolist()
    group = subject_groups(len(labels), subjects) if len(labels) else np.zeros(0, dtype=np.int64)
    values, samples = [np.zeros((0, 2))], [np.zeros((n_bootstrap, 0, 2))]
    for start in range(0, len(columns), _CLASSES_AT_ONCE):
        chosen = columns[start : start + _CLASSES_AT_ONCE]
        cells = np.concatenate([_bin_cells(labels[:, c], probabilities[:, c], known[:, c], n_bins) for c in chosen], axis=1)
        values.append(_errors_of_sums(cells.sum(axis=0).reshape(len(chosen), -1)))
        sums = resampled_sums(cells, group, n_bootstrap, seed) if n_bootstrap else cells[:0]
        samples.append(_errors_of_sums(sums.reshape(len(sums), len(chosen), 3 * n_bins + 1)))
    table = np.concatenate(values)
    prevalence = [labels[known[:, c], c].mean() for c in columns]
    rows = {
        "ece": table[:, 0],
        "ece_perfect": np.array([perfect_error(probabilities[known[:, c], c], n_bins, seed) for c in columns]),
        "brier": table[:, 1],
        "brier_prevalence": np.array([share * (1 - share) for share in prevalence]),
    }
    metrics = {f"macro_{name}": float(row.mean()) if len(row) else float("nan") for name, row in rows.items()}
    for name, row in rows.items():
        metrics.update({f"{name}/{names[c]}": float(value) for c, value in zip(columns, row)})
    drawn = np.concatenate(samples, axis=1)
    intervals = {}
    for number, name in enumerate(("ece", "brier")):
        of_classes = {f"{name}/{names[c]}": drawn[:, i, number] for i, c in enumerate(columns)}
        of_classes[f"macro_{name}"] = _defined_means(drawn[:, :, number])
        pairs = {key: percentile_interval(column) for key, column in of_classes.items()}
        intervals.update({key: pair for key, pair in pairs.items() if pair is not None})
    return CalibrationMetrics(metrics, intervals, [name for c, name in enumerate(names) if c not in set(columns)])


def _bin_cells(label: np.ndarray, probability: np.ndarray, known: np.ndarray, n_bins: int) -> np.ndarray:
    """What each record adds to the sums of a class, ``[N, 3 · bins + 1]``: count, label and probability in its bin, error²."""
    cells = np.zeros((len(label), 3 * n_bins + 1))
    rows = np.flatnonzero(known)
    target, value = np.asarray(label, dtype=np.float64)[rows], np.asarray(probability, dtype=np.float64)[rows]
    place = bins_of(value, n_bins)
    cells[rows, place] = 1
    cells[rows, n_bins + place] = target
    cells[rows, 2 * n_bins + place] = value
    cells[rows, -1] = np.square(value - target)
    return cells


def _errors_of_sums(sums: np.ndarray) -> np.ndarray:
    """Sums ``[.., 3 · bins + 1]`` of :func:`_bin_cells` → calibration error and Brier score ``[.., 2]``; NaN of no record."""
    count, positive, total = np.split(sums[..., :-1], 3, axis=-1)
    both = np.stack([np.abs(total - positive).sum(axis=-1), sums[..., -1]], axis=-1)
    with np.errstate(invalid="ignore"):
        return both / count.sum(axis=-1)[..., None]


def _defined_means(values: np.ndarray) -> np.ndarray:
    """Mean of what is defined in each row of ``[R, C]``, NaN where nothing is."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1)
