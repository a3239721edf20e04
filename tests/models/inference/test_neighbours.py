"""Distances to neighbours, one pair at a time."""

import numpy as np
import pytest

from cmelt_plugin.models.inference import neighbours as neighbours_module
from cmelt_plugin.models.inference.neighbours import neighbour_distance


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("skip_self", [False, True])
def test_the_distance_to_the_kth_nearest(skip_self, monkeypatch) -> None:
    monkeypatch.setattr(neighbours_module, "_ROWS", 7)
    rng = np.random.default_rng(0)
    known = unit(rng.normal(size=(23, 5)))
    points = known if skip_self else unit(rng.normal(size=(16, 5)))
    every = np.linalg.norm(points[:, None].astype(np.float64) - known[None], axis=2)
    if skip_self:
        np.fill_diagonal(every, np.inf)
    for k in (1, 3, 22, 100):
        rank = min(k, len(known) - skip_self)
        expected = np.sort(every, axis=1)[:, rank - 1]
        assert neighbour_distance(points, known, k, skip_self) == pytest.approx(expected, abs=1e-6)


def test_nothing_known_is_refused() -> None:
    with pytest.raises(ValueError):
        neighbour_distance(np.zeros((2, 3), np.float32), np.zeros((0, 3), np.float32))
    with pytest.raises(ValueError):
        neighbour_distance(np.zeros((2, 3), np.float32), np.zeros((5, 4), np.float32))
