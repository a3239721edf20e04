"""Calibration errors by hand, and what chance leaves of them."""

import numpy as np
import pytest

from cmelt_plugin.evaluation.metrics.calibration import (
    bins_of,
    calibration_error,
    calibration_metrics,
    perfect_error,
    reliability,
)

NAMES = ["a", "b", "c"]


def naive_error(label, probability, n_bins=15):
    """The formula, bin by bin and record by record."""
    pairs = [(y, p) for y, p in zip(label.tolist(), probability.tolist()) if y == y and p == p]
    total = 0.0
    for number in range(n_bins):
        low, high = number / n_bins, (number + 1) / n_bins
        inside = [(y, p) for y, p in pairs if low <= p < high or (p == 1 and number == n_bins - 1)]
        if inside:
            total += abs(sum(p for _, p in inside) / len(inside) - sum(y for y, _ in inside) / len(inside)) * len(inside)
    return total / len(pairs)


def some(seed, n=200):
    rng = np.random.default_rng(seed)
    probabilities = rng.choice([0.0, 0.01, 0.2, 1 / 15, 0.5, 0.93, 1.0], size=(n, 3))
    probabilities[:, 1] = rng.random(n)
    labels = (rng.random((n, 3)) < probabilities**2).astype(float)
    labels[rng.random((n, 3)) < 0.2] = np.nan
    probabilities[: n // 10, 2] = np.nan
    return labels, probabilities, [f"s{i // 4}" for i in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_that_of_the_formula(seed) -> None:
    labels, probabilities, subjects = some(seed)
    every = calibration_metrics(labels, probabilities, NAMES, subjects)
    for c, name in enumerate(NAMES):
        expected = naive_error(labels[:, c], probabilities[:, c])
        assert calibration_error(labels[:, c], probabilities[:, c]) == pytest.approx(expected)
        assert every.metrics[f"ece/{name}"] == pytest.approx(expected)
        assert every.metrics[f"brier/{name}"] == pytest.approx(np.nanmean((labels[:, c] - probabilities[:, c]) ** 2))
        known = labels[~np.isnan(labels[:, c] + probabilities[:, c]), c]
        assert every.metrics[f"brier_prevalence/{name}"] == pytest.approx(known.var())
    assert every.metrics["macro_ece"] == pytest.approx(np.mean([every.metrics[f"ece/{name}"] for name in NAMES]))
    assert every.intervals == {} and every.excluded == []


def test_bins_hold_their_lower_ends_and_the_last_one_both() -> None:
    assert bins_of(np.array([0, 0.5 / 15, 1 / 15, 14 / 15, 1.0])).tolist() == [0, 0, 1, 14, 14]
    found = reliability(np.array([0, 1, 1, np.nan]), np.array([0.01, 0.02, 0.99, 0.99]))
    assert found.records.tolist() == [2, *[0] * 13, 1]
    assert found.probability[0] == pytest.approx(0.015) and found.frequency[[0, 14]].tolist() == [0.5, 1]
    assert np.isnan(found.frequency[1:14]).all()


def test_intervals_resample_subjects_with_all_their_records() -> None:
    labels, probabilities, subjects = some(7)
    every = calibration_metrics(labels, probabilities, NAMES, subjects, n_bootstrap=60, seed=3)
    rng = np.random.default_rng(3)
    drawn = rng.integers(50, size=(60, 50))  # as draw_counts does; there are 50 subjects of four records
    errors = np.empty((60, 3))
    for sample in range(60):
        rows = np.concatenate([np.arange(4 * subject, 4 * subject + 4) for subject in drawn[sample]])
        errors[sample] = [naive_error(labels[rows, c], probabilities[rows, c]) for c in range(3)]
    assert every.intervals["ece/a"] == pytest.approx(np.percentile(errors[:, 0], [2.5, 97.5]))
    assert every.intervals["macro_ece"] == pytest.approx(np.percentile(errors.mean(axis=1), [2.5, 97.5]))
    assert set(every.intervals) == {f"{kind}{name}" for kind in ("ece/", "brier/") for name in NAMES} | {
        "macro_ece",
        "macro_brier",
    }


def test_honest_probabilities_have_the_error_that_chance_leaves() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(300)
    errors = [calibration_error((rng.random(300) < probability).astype(float), probability) for _ in range(300)]
    assert perfect_error(probability) == pytest.approx(np.mean(errors), rel=0.05)
    assert perfect_error(probability) > 0.05  # far from zero
    assert perfect_error(np.repeat(probability, 100)) < perfect_error(probability) / 5
    assert np.isnan(perfect_error(np.zeros(0)))


def test_classes_without_labels_or_probabilities_are_named() -> None:
    labels, probabilities, _ = some(1)
    probabilities[:, 0], labels[:, 2] = np.nan, np.nan
    every = calibration_metrics(labels, probabilities, NAMES, n_bootstrap=5)
    assert every.excluded == ["a", "c"]
    assert every.metrics["macro_ece"] == every.metrics["ece/b"] and "ece/a" not in every.metrics
    with pytest.raises(ValueError, match="outside"):
        calibration_metrics(labels, probabilities + 0.5, NAMES)
    with pytest.raises(ValueError, match="2 classes"):
        calibration_metrics(labels, probabilities, NAMES[:2])
