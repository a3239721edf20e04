"""The relations between limb leads, from the products of the leads alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cmelt_plugin.data.limb_leads import COEFFICIENTS, LIMB_LEADS, RESIDUAL, describe_exchange, relations_residual


def test_the_residual_of_the_gram_needs_all_leads_of_a_relation():
    gram = np.eye(6)
    active = np.ones(6, dtype=bool)
    assert relations_residual(gram, active) == pytest.approx(np.sqrt((3 + 1.5 + 2.25 + 2.25) / 4))
    active[0] = False
    assert math.isnan(relations_residual(gram, active))
    assert math.isnan(relations_residual(np.zeros((6, 6)), np.ones(6, dtype=bool)))


def test_the_exchange_is_named_where_one_explains_what_the_relations_leave_over():
    one, two = np.random.default_rng(0).normal(size=(2, 500))
    leads = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    assert np.abs(COEFFICIENTS @ leads).max() < 1e-12
    everything = np.ones(6, dtype=bool)
    exchanged = leads[[0, 1, 4, 3, 2, 5]]
    gram = exchanged @ exchanged.T
    residual = relations_residual(gram, everything)
    assert residual > RESIDUAL
    assert describe_exchange(gram, residual) == f", with {LIMB_LEADS[2]} and {LIMB_LEADS[4]} exchanged they would agree"
    unrelated = np.random.default_rng(1).normal(size=(6, 500))
    gram = unrelated @ unrelated.T
    assert describe_exchange(gram, relations_residual(gram, everything)) == ""
