"""Probabilities from scores: the minima of their losses, nothing infinite, and no better than their data."""

import numpy as np
import pytest
from scipy.optimize import minimize

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.calibration import calibration_error, perfect_error
from cmelt_plugin.evaluation.uncertainty.recalibration import (
    fit_curves,
    held_out_probabilities,
)
from cmelt_plugin.models.inference.calibration import METHODS, Curve, curve_probabilities, sigmoid


def planted(seed, n=400, slope=3.0, intercept=-1.0):
    """Scores of which sigmoid(3 s − 1) is the probability of the first class; the second is the reverse of its score."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 2))
    chance = np.stack([sigmoid(slope * scores[:, 0] + intercept), sigmoid(-scores[:, 1])], axis=1)
    return (rng.random((n, 2)) < chance).astype(float), scores


def test_platt_finds_the_planted_line_and_never_turns_an_order_round() -> None:
    labels, scores = planted(0, 20_000)
    labels[:50, 0] = np.nan
    first, second = fit_curves(labels, scores, "platt")
    assert first.slope == pytest.approx(3, rel=0.05) and first.intercept == pytest.approx(-1, abs=0.07)
    assert second.slope == pytest.approx(0, abs=1e-6)
    assert sigmoid(second.intercept) == pytest.approx(labels[:, 1].mean(), abs=1e-3)
    shifted = fit_curves(labels, 1000 * scores + 7, "platt")[0]  # in any unit
    assert shifted.probabilities(1000 * scores[:9, 0] + 7) == pytest.approx(first.probabilities(scores[:9, 0]), abs=1e-4)


def test_platt_is_the_minimum_of_its_loss() -> None:
    labels, scores = planted(1, 60)
    curve = fit_curves(labels, scores, "platt")[0]
    positive = labels[:, 0] == 1
    targets = np.where(positive, (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2))

    def loss(values):
        p = 1 / (1 + np.exp(-(values[0] * scores[:, 0] + values[1])))
        return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()

    found = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x
    assert (curve.slope, curve.intercept) == pytest.approx(tuple(found), rel=1e-3)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_separable_scores_give_no_certainty(method) -> None:
    scores = np.arange(40.0)[:, None]
    labels = (scores > 20).astype(float)
    probability = fit_curves(labels, scores, method)[0].probabilities(np.array([-1e9, 0, 39, 1e9]))
    assert (np.diff(probability) >= 0).all() and np.isfinite(probability).all()
    assert probability[1] > 0.001 and probability[2] < 0.999


def test_temperature_is_one_factor_on_the_logits_of_all_classes() -> None:
    labels, scores = planted(2, 5000, intercept=0.0)
    both = np.stack([labels[:, 0], labels[:, 0]], axis=1)
    logits = np.stack([scores[:, 0], scores[:, 0]], axis=1)
    first, second = fit_curves(both, (logits - 2) / 10, "temperature", base=(10, 2))
    assert first == second and first.slope == pytest.approx(30, rel=0.05) and first.intercept == pytest.approx(6, rel=0.05)
    with pytest.raises(DataError, match="no logits"):
        fit_curves(labels, scores, "temperature")
    with pytest.raises(ValueError, match="method"):
        fit_curves(labels, scores, "guess")


def test_isotonic_is_a_staircase_of_means_and_constant_beyond_its_ends() -> None:
    labels = np.array([0, 1, 0, 0, 1, 1, 0, 1, 1, 1.0])[:, None]
    curve = fit_curves(labels, np.arange(10.0)[:, None], "isotonic")[0]
    found = curve.probabilities(np.array([-5.0, 0, 1, 2, 3, 4, 5, 6, 9, 50]))
    assert found == pytest.approx([1 / 12, 1 / 12, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 11 / 12, 11 / 12])
    reverse = fit_curves(labels, -np.arange(10.0)[:, None], "isotonic")[0]
    assert np.ptp(reverse.probabilities(np.arange(-9.0, 1))) < 0.35 and reverse.probabilities(np.zeros(1)) < 0.7


def test_classes_of_too_few_records_get_no_curve() -> None:
    labels = np.zeros((30, 3))
    labels[0, 0], labels[:2, 1], labels[:, 2] = 1, 1, np.nan
    scores = np.random.default_rng(0).normal(size=(30, 3))
    for method in ("platt", "isotonic"):
        curves = fit_curves(labels, scores, method)
        assert [curve is None for curve in curves] == [True, False, True]
        assert np.isnan(curve_probabilities(curves, scores)[:, [0, 2]]).all()


@pytest.mark.parametrize("method", METHODS)
def test_recalibrated_scores_mean_what_they_say_on_new_records(method) -> None:
    labels, scores = planted(3, 2000, intercept=0.0)
    new_labels, new_scores = planted(4, 2000, intercept=0.0)
    curve = fit_curves(labels[:, :1], scores[:, :1], method, base=(1, 0))[0]
    probability = curve.probabilities(new_scores[:, 0])
    raw = calibration_error(new_labels[:, 0], sigmoid(new_scores[:, 0]))
    assert calibration_error(new_labels[:, 0], probability) < 2.5 * perfect_error(probability) < raw


def test_folds_hold_out_whole_subjects() -> None:
    """Labels that only a record of the same subject tells are not found out."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(150), 2)
    labels = np.repeat(rng.integers(0, 2, 150), 2)[:, None].astype(float)
    scores = np.repeat(rng.permutation(150), 2)[:, None].astype(float)
    fitted = fit_curves(labels, scores, "isotonic")[0].probabilities(scores[:, 0])
    held_out = held_out_probabilities(labels, scores, group, "isotonic")[:, 0]
    brier = [((p - labels[:, 0]) ** 2).mean() for p in (fitted, held_out)]
    assert brier[0] < 0.25 < brier[1] and not np.isnan(held_out).any()
    again = held_out_probabilities(labels, scores, group, "isotonic")
    assert (again[:, 0] == held_out).all()


def test_folds_never_leave_out_the_positives() -> None:
    """A class of one subject, or of too few records, has no held-out probabilities rather than those of its negatives."""
    labels, scores = np.zeros((400, 3)), np.random.default_rng(0).normal(size=(400, 3))
    labels[:2, 0], labels[:12, 1], labels[::2, 2] = 1, 1, 1
    group = np.concatenate([np.zeros(12, dtype=int), np.arange(1, 389)])
    missing = np.isnan(held_out_probabilities(labels, scores, group, "platt"))
    assert missing[:, :2].all() and not missing[:, 2].any()


def test_a_curve_with_knots_ignores_its_line() -> None:
    assert Curve(5, 5, ((0.0, 1.0), (0.2, 0.4))).probabilities(np.array([0.5])) == pytest.approx([0.3])
    assert Curve(2, 1).probabilities(np.array([-0.5])) == pytest.approx([0.5])
