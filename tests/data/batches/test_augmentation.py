import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.data.batches.augmentation import random_lead_mask


@given(seed=st.integers(0, 2**16), probability=st.floats(0, 1))
def test_at_least_one_lead_survives_and_the_rest_follow_the_numbers(seed, probability):
    uniforms = np.random.default_rng(seed).random((20, 12))
    mask = random_lead_mask(uniforms.copy(), probability)
    wanted = uniforms < probability
    assert not mask.all(axis=1).any()
    partly = ~wanted.all(axis=1)
    np.testing.assert_array_equal(mask[partly], wanted[partly])
    assert (mask[~partly].sum(axis=1) == 11).all()


def test_half_the_leads_on_average():
    mask = random_lead_mask(np.random.default_rng(0).random((20_000, 12)), 0.5)
    assert abs(mask.mean() - 0.5) < 0.01
    assert not random_lead_mask(np.random.default_rng(0).random((100, 12)), 0.0).any()
