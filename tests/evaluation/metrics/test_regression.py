"""Metrics of estimates of a number."""

import numpy as np
import pytest
from scipy import stats

from cmelt_plugin.evaluation.metrics.regression import pearson, regression_intervals, regression_metrics, spearman

RNG = np.random.default_rng(4)
TARGET = RNG.integers(20, 70, 60).astype(float)  # with ties
ESTIMATE = np.round(TARGET + RNG.normal(0, 8, 60))
LOW, HIGH = ESTIMATE - 10, ESTIMATE + 6


def test_metrics_of_known_numbers() -> None:
    metrics = regression_metrics(np.array([10.0, 20, 60]), np.array([20.0, 20, 50]), np.full(3, 10.0), np.full(3, 20.0))
    assert metrics["mae"] == pytest.approx(20 / 3) and metrics["bias"] == 0
    assert metrics["r2"] == pytest.approx(1 - 200 / 1400)
    assert metrics["coverage"] == pytest.approx(2 / 3) and metrics["interval_width"] == 10
    assert regression_metrics(TARGET, np.full(60, TARGET.mean()))["r2"] == pytest.approx(0, abs=1e-12)


def test_correlations_are_scipy_s() -> None:
    assert spearman(TARGET, ESTIMATE) == pytest.approx(stats.spearmanr(TARGET, ESTIMATE)[0], rel=1e-12)
    assert pearson(TARGET, ESTIMATE) == pytest.approx(stats.pearsonr(TARGET, ESTIMATE)[0], rel=1e-12)
    assert np.isnan(spearman(TARGET, np.zeros(60))) and np.isnan(pearson([1.0], [2.0]))
    assert pearson([1.0, 2, np.nan, 3], [2.0, 4, 5, 6]) == pytest.approx(1)


def test_intervals_resample_subjects() -> None:
    subjects = [f"s{i // 3}" for i in range(59)] + [""]
    intervals = regression_intervals(TARGET, ESTIMATE, LOW, HIGH, subjects, n=300, seed=5)
    group = np.array([i // 3 for i in range(59)] + [20])
    drawn = np.random.default_rng(5).integers(21, size=(300, 21))
    naive: dict = {}
    for groups in drawn:
        rows = np.concatenate([np.flatnonzero(group == g) for g in groups])
        metrics = regression_metrics(TARGET[rows], ESTIMATE[rows], LOW[rows], HIGH[rows])
        metrics["spearman"] = stats.spearmanr(TARGET[rows], ESTIMATE[rows])[0]
        for name, value in metrics.items():
            naive.setdefault(name, []).append(value)
    assert set(intervals) == {"mae", "bias", "r2", "spearman", "coverage", "interval_width"}
    for name, values in naive.items():
        assert intervals[name] == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), rel=1e-9, abs=1e-9), name


def test_what_is_not_defined_has_no_interval() -> None:
    intervals = regression_intervals(np.full(5, 50.0), np.arange(5.0), n=20)
    assert set(intervals) == {"mae", "bias"}
    assert regression_intervals(TARGET, ESTIMATE, n=0) == {}


@pytest.mark.parametrize("target, estimate", [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([1.0], [np.inf])])
def test_what_cannot_be_measured_is_refused(target, estimate) -> None:
    with pytest.raises(ValueError, match="targets"):
        regression_metrics(np.array(target), np.array(estimate))
