"""Drift that was planted is found, and what is only chance is not."""

import numpy as np
import pytest
from scipy.stats import binom

from cmelt_plugin.evaluation.drift.comparison import first_records, holm, point_drift, score_drift, windows


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_scores_that_moved_are_named_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=(300, 4)), rng.normal(size=(200, 4))
    current[:, 2] = 2 * current[:, 2] + 1
    found = score_drift(reference, current, list("abcd"))
    assert [one.p_value < 0.01 for one in found] == [False, False, True, False]
    assert found[2].name == "c" and found[2].shift == pytest.approx(1, abs=0.4) and abs(found[0].shift) < 0.4
    differences = np.searchsorted(np.sort(reference[:, 2]), x := np.sort(np.r_[reference[:, 2], current[:, 2]]), "right") / 300
    differences = differences - np.searchsorted(np.sort(current[:, 2]), x, "right") / 200
    assert found[2].statistic == pytest.approx(np.abs(differences).max())


def test_chance_alone_is_no_drift_more_often_than_is_said() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        found = score_drift(rng.normal(size=(60, 5)), rng.normal(size=(50, 5)), list("abcde"))
        alarms += min(one.p_value for one in found) < 0.1
    assert alarms <= binom.ppf(0.9999, 60, 0.1)


def test_embeddings_that_moved_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    reference = unit(rng.normal(size=(200, 6)))
    same = point_drift(reference, unit(rng.normal(size=(150, 6))))
    assert 0.35 < same.auc < 0.65 and same.p_value > 0.01 and same.distance_p_value > 0.01 and same.beyond < 0.15
    moved = point_drift(reference, unit(rng.normal(size=(150, 6)) + np.array([2.0, 0, 0, 0, 0, 0])))
    assert moved.auc > 0.85 and moved.p_value < 1e-6
    narrow = unit(rng.normal(size=(200, 6)) + np.array([6.0, 0, 0, 0, 0, 0]))
    far = point_drift(narrow, unit(rng.normal(size=(150, 6))))
    assert far.beyond > 0.8 and far.distance_p_value < 1e-6


def test_windows_follow_time_and_count_what_was_promised() -> None:
    times = ["2024-03", "2024-01", "2024-04", "2024-02"]
    labels = np.array([[1, 0], [1, 1], [np.nan, 1], [0, 0.0]])
    sets = np.array([[True, True], [False, True], [True, False], [True, True]])
    refused = np.array([False, True, False, False])
    first, second = windows(times, labels, sets, np.array([0, 1]), 0.9, refused, 2)
    assert (first.begin, first.end, first.n_records, first.refused) == ("2024-01", "2024-02", 2, 0.5)
    assert first.recall == 0.5 and first.n_positive == 2 and first.p_value == pytest.approx(binom.cdf(1, 2, 0.9))
    assert second.recall == 0.5 and second.refused == 0 and second.begin == "2024-03"
    (only,) = windows(["", "a", "", ""], labels, sets, np.array([0]), 0.9, None, 1)
    assert only.n_positive == 2 and only.begin == "" and np.isnan(only.refused) and only.recall == 0.5
    (blind,) = windows(times, None, sets, np.array([0]), 0.9, None, 1)
    assert np.isnan(blind.recall) and np.isnan(blind.p_value)
    assert len(windows(times, labels, sets, np.array([], dtype=int), 0.9, None, 9)) == 4


def test_holm_by_hand_and_first_records() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0]) and holm([]) == []
    assert first_records(["a", "b", "a", "", ""]).tolist() == [0, 1, 3, 4]
