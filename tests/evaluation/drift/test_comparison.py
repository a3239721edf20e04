"""Drift that was planted is found, and what is only chance is not."""

import numpy as np
import pytest
from scipy.stats import betabinom, binom, norm

from cmelt_plugin.evaluation.drift.comparison import (
    Promised,
    _one_half,
    first_records,
    holm,
    point_drift,
    promised_classes,
    score_drift,
    windows,
)
from cmelt_plugin.evaluation.uncertainty.conformal import class_promise
from cmelt_plugin.models.inference.calibration import Calibration, ClassCalibration


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


def drifted(reference, current, seed=0):
    return point_drift(reference, current, [""] * len(reference), [""] * len(current), seed)


def test_embeddings_that_moved_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    reference = unit(rng.normal(size=(200, 6)))
    same = drifted(reference, unit(rng.normal(size=(150, 6))))
    assert 0.35 < same.auc < 0.65 and same.p_value > 0.01 and same.distance_p_value > 0.01 and same.beyond < 0.15
    moved = drifted(reference, unit(rng.normal(size=(150, 6)) + np.array([2.0, 0, 0, 0, 0, 0])))
    assert moved.auc > 0.85 and moved.p_value < 1e-6
    narrow = unit(rng.normal(size=(200, 6)) + np.array([6.0, 0, 0, 0, 0, 0]))
    far = drifted(narrow, unit(rng.normal(size=(150, 6))))
    assert far.beyond > 0.8 and far.distance_p_value < 1e-6
    with pytest.raises(ValueError, match="10 each are needed"):
        drifted(reference, reference[:9])


def test_chance_alone_tells_embeddings_apart_no_more_often_than_is_said() -> None:
    rng = np.random.default_rng(4)
    least = []
    for seed in range(150):
        found = drifted(unit(rng.normal(size=(30, 4))), unit(rng.normal(size=(30, 4))), seed)
        least.append(min(found.p_value, found.distance_p_value))
    assert np.sum(np.array(least) < 0.1) <= binom.ppf(0.99, 150, 0.1)


def test_halves_share_nobody_and_both_have_then_and_now() -> None:
    group = np.array([0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 10])  # 4 and 5 are there then and now
    now = np.repeat([0, 1], [6, 7])
    for seed in range(20):
        first = _one_half(group, now, seed)
        assert not set(group[first]) & set(group[~first])
        assert first[now == 0].sum() == 3 and first[now == 1].sum() in (3, 4)


def test_windows_follow_time_and_count_what_was_promised() -> None:
    times = ["2024-03", "2024-01", "2024-04", "2024-02"]
    labels = np.array([[1, 0], [1, 1], [np.nan, 1], [0, 0.0]])
    sets = np.array([[True, True], [False, True], [True, False], [True, True]])
    refused = np.array([False, True, False, False])
    people, both = ["a", "b", "", ""], [Promised(0, 19, 1), Promised(1, 40, 2)]
    first, second = windows(times, people, labels, sets, both, refused, 2)
    assert (first.begin, first.end, first.n_records, first.refused) == ("2024-01", "2024-02", 2, 0.5)
    assert first.recall == 0.5 and first.n_positive == 2
    # Missed of one subject each: class a in the first window, b in the second; two classes, two windows.
    assert betabinom.cdf(0, 1, 19, 1) == pytest.approx(1 / 20) and second.p_value == pytest.approx(2 * 2 * 2 / 41)
    assert first.p_value == pytest.approx(max(2 / 20, second.p_value))
    assert second.recall == 0.5 and second.refused == 0 and second.begin == "2024-03"
    (only,) = windows(["", "a", "", ""], people, labels, sets, both[:1], None, 1)
    assert only.n_positive == 2 and only.begin == "" and np.isnan(only.refused) and only.recall == 0.5
    (blind,) = windows(times, people, None, sets, both[:1], None, 1)
    assert np.isnan(blind.recall) and np.isnan(blind.p_value)
    assert len(windows(times, people, labels, sets, [], None, 9)) == 4


def test_a_subject_counts_once_for_a_class() -> None:
    labels, sets = np.ones((30, 1)), np.zeros((30, 1), dtype=bool)
    (found,) = windows([""] * 30, ["a"] * 29 + ["b"], labels, sets, [Promised(0, 19, 1)], None, 1)
    assert found.p_value == pytest.approx(betabinom.cdf(0, 2, 19, 1)) and found.n_positive == 30


def promise_page(rng, fall=0.0, subjects=30, records=2):
    """The smallest p-value of four windows of subjects like those of calibration, but for scores that fell by ``fall``."""

    def scores(people):
        own = np.repeat(0.8 * rng.normal(size=(people, 1)) + 0.6 * rng.normal(size=(people, 3)), records, axis=0)
        return own + 0.3 * rng.normal(size=own.shape), np.repeat(np.arange(people), records)

    known, unit = scores(subjects)
    thresholds = np.array([class_promise(known[:, column], unit, 0.9).threshold for column in range(3)])
    now, people = scores(125)
    promised = [Promised(column, subjects, 3) for column in range(3)]
    names = [str(one) for one in people]
    found = windows([""] * len(now), names, np.ones_like(now), now - fall >= thresholds, promised, None, 4)
    return min(one.p_value for one in found)


def test_a_promise_that_is_kept_is_no_more_often_called_broken_than_is_said() -> None:
    """Calibrations that had bad luck, classes and records of the same people, and several windows are all in it."""
    rng = np.random.default_rng(3)
    alarms = sum(promise_page(rng) < 0.1 for _ in range(150))
    assert alarms <= binom.ppf(0.9999, 150, 0.1)
    fall = 1.05 * (norm.ppf(0.9) - norm.ppf(0.5))
    assert sum(promise_page(rng, fall, subjects=100) < 0.01 for _ in range(10)) >= 9


def test_what_a_promise_rests_on() -> None:
    """k = ⌊(1 − recall)(m + 1)⌋; fewer units where records share subjects or are weighted; nothing without a threshold."""
    classes = [ClassCalibration("a", 90, 9, 60, None, 0.5, 0.9), ClassCalibration("b", 3, 99, 3, None, None, None)]
    fixed = {"kind": "classifier", "model": "", "key": "", "label_set": "", "score": "", "leads": [], "method": "platt"}
    data = {"records": 120, "subjects": 40}

    def found(unit="subject", **values):
        return promised_classes(Calibration(**fixed, recall=0.9, unit=unit, needed=9, classes=classes, data=data, **values))

    assert found() == [Promised(0, 60, 6)]
    assert found("record") == [Promised(0, 20, 2)]
    assert found(shift={"effective": 30.0}) == [Promised(0, 15, 1)]


def test_holm_by_hand_and_first_records() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0]) and holm([]) == []
    assert first_records(["a", "b", "a", "", ""]).tolist() == [0, 1, 3, 4]
