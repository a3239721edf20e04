"""Halves, bins and disturbances."""

import numpy as np
import pytest

from cmelt_plugin.evaluation.metrics.uncertainty import (
    binned_trend,
    equal_count_bins,
    median_halves,
    rise_with_disturbance,
)


def test_halves_split_at_the_median() -> None:
    halves = median_halves(np.array([5.0, 1, 4, 2, 3]))
    assert halves.low.tolist() == [1, 3, 4] and halves.high.tolist() == [0, 2]
    assert len(median_halves(np.ones(4)).high) == 0


def test_bins_hold_as_many_records_each() -> None:
    uncertainty = np.random.default_rng(0).normal(size=103)
    bins = equal_count_bins(uncertainty)
    assert [len(rows) for rows in bins] == [11] * 3 + [10] * 7
    assert sorted(np.concatenate(bins)) == list(range(103))
    assert all(uncertainty[a].max() <= uncertainty[b].min() for a, b in zip(bins, bins[1:]))


def test_trend_correlates_the_bin_with_the_metric() -> None:
    uncertainty = np.linspace(0, 1, 50)[::-1].copy()
    falling = binned_trend(uncertainty, lambda rows: 1 - uncertainty[rows].mean())
    assert falling.pearson == pytest.approx(-1) and np.allclose(falling.values, 1 - falling.uncertainty)
    partly = binned_trend(uncertainty, lambda rows: np.nan if uncertainty[rows].mean() > 0.3 else uncertainty[rows].mean())
    assert np.isnan(partly.values[4:]).all() and partly.pearson == pytest.approx(1)
    assert np.isnan(binned_trend(uncertainty, lambda rows: 0.5).pearson)
    assert np.isnan(binned_trend(uncertainty[:3], lambda rows: 0.5).values[3:]).all()


def test_a_record_is_monotone_when_every_step_rises() -> None:
    rise = rise_with_disturbance(np.array([[1.0, 2, 3], [1, 3, 2], [3, 2, 1], [1, 1, 2]]))
    assert rise.monotone == 0.25 and rise.ends_higher == 0.75 and rise.chance == pytest.approx(1 / 6)
    assert rise.means.tolist() == [1.5, 2, 2]
    with pytest.raises(ValueError, match="two levels"):
        rise_with_disturbance(np.ones((3, 1)))
