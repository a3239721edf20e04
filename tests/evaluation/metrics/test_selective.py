"""Risk against coverage, by every order of records of equal uncertainty."""

from itertools import permutations

import numpy as np
import pytest

from cmelt_plugin.evaluation.metrics.selective import best_areas, mistakes_avoided, random_areas, risk_coverage


def naive(loss, order):
    """AURC and AUGRC of one order."""
    n = len(loss)
    risks = [sum(loss[i] for i in order[:k]) / k for k in range(1, n + 1)]
    generalised = [sum(loss[i] for i in order[:k]) / n for k in range(1, n + 1)]
    return sum(risks) / n, sum(generalised) / n


def test_areas_are_those_expected_over_the_orders_of_equals() -> None:
    loss = [0.0, 1.0, 0.5, 0.0, 1.0, 0.25]
    uncertainty = [0.3, 0.1, 0.3, 0.1, 0.3, 0.9]
    every = [naive(loss, [*first, *second, 5]) for first in permutations([1, 3]) for second in permutations([0, 2, 4])]
    curves = risk_coverage(np.array(loss), np.array(uncertainty))
    assert (curves.aurc, curves.augrc) == pytest.approx(tuple(np.mean(every, axis=0)))
    assert curves.risk[-1] == curves.generalised_risk[-1] == pytest.approx(np.mean(loss))
    assert curves.coverage[0] == pytest.approx(1 / 6) and curves.risk[0] == pytest.approx(0.5)


def test_random_and_best_orders_bound_what_is_possible() -> None:
    loss = np.array([0.0, 1.0, 0.5, 0.0])
    every = [naive(loss, order) for order in permutations(range(4))]
    assert random_areas(loss) == pytest.approx(tuple(np.mean(every, axis=0)))
    assert best_areas(loss) == pytest.approx(tuple(np.min(every, axis=0)))
    assert risk_coverage(loss, -loss).augrc == pytest.approx(np.max(every, axis=0)[1])


def test_nothing_to_order_is_refused() -> None:
    for loss, uncertainty in (([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([1.0], [np.nan])):
        with pytest.raises(ValueError):
            risk_coverage(np.array(loss), np.array(uncertainty))


def test_mistakes_of_the_recordings_that_are_handed_over() -> None:
    loss, doubt = np.array([0, 0, 1.0, 0, 1, 0, 0, 0.5, 0, 0]), np.arange(10.0)
    curves = risk_coverage(loss, doubt)
    assert mistakes_avoided(curves, 0.3) == pytest.approx(0.2) and mistakes_avoided(curves, 0.0) == pytest.approx(0)
    assert mistakes_avoided(curves, 0.6) == pytest.approx(0.6) and mistakes_avoided(curves, 1.0) == 1
    assert mistakes_avoided(risk_coverage(loss, np.zeros(10)), 0.3) == pytest.approx(0.3)  # of an order that says nothing
    assert np.isnan(mistakes_avoided(risk_coverage(np.zeros(3), np.arange(3.0)), 0.5))
