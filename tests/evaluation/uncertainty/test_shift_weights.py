"""Weights of a planted shift."""

import numpy as np
import pytest

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.uncertainty.shift_weights import shift_weights


def test_a_planted_ratio_is_found_and_no_shift_has_weights_of_one() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1500, 3))
    same = shift_weights(points, np.arange(1500) // 3, rng.normal(size=(900, 3)))
    assert same.mean() == pytest.approx(1) and same.std() < 0.15
    other = rng.normal(size=(900, 3)) + np.array([1.0, 0, 0])  # the ratio of densities is exp(x − ½)
    found = shift_weights(points, np.arange(1500) // 3, other)
    expected = np.minimum(np.exp(points[:, 0] - 0.5), 10)
    assert np.corrcoef(np.log(found), points[:, 0])[0, 1] > 0.97
    assert np.abs(np.log(found) - np.log(expected)).mean() < 0.35
    far = shift_weights(points, np.arange(1500) // 3, other + 3, largest=4.0)
    assert far.max() == 4 and far.min() < 0.05


def test_one_subject_or_one_other_record_is_too_few() -> None:
    points = np.random.default_rng(0).normal(size=(8, 3))
    with pytest.raises(DataError, match="two subjects to calibrate on and two other records at least, not 1 and 8"):
        shift_weights(points, np.zeros(8, dtype=int), points)
    with pytest.raises(DataError, match="not 8 and 1; leave out --target"):
        shift_weights(points, np.arange(8), points[:1])
    assert np.isfinite(shift_weights(points, np.arange(8) // 4, points[:2])).all()


def test_a_subject_is_weighed_by_the_others() -> None:
    """A record that is also in the other data, and nowhere else, is not recognised by itself."""
    rng = np.random.default_rng(1)
    points = rng.normal(size=(200, 40))
    found = shift_weights(points, np.arange(200), np.concatenate([points[:20], rng.normal(size=(180, 40))]))
    assert found[:20].mean() < 1.5
