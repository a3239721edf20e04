"""The reconstruction target: patches there and back, standardisation by the formula, short records."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.modules.ecg.patches import patchify, standardise_leads, unpatchify


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 9), st.integers(1, 16), st.integers(0, 15))
def test_unpatchify_inverts_patchify(rows: int, leads: int, tokens: int, samples: int, rest: int) -> None:
    ecg = torch.randn(rows, leads, tokens * samples + rest)
    patches = patchify(ecg, tokens, samples)
    assert patches.shape == (rows, tokens, leads * samples)
    assert torch.equal(unpatchify(patches, leads), ecg[..., : tokens * samples])


def test_patches_are_lead_major() -> None:
    ecg = torch.tensor([[[0.0, 1, 2, 3, 4], [10, 11, 12, 13, 14]]])  # sample 4 belongs to no token
    assert patchify(ecg, 2, 2).tolist() == [[[0, 1, 10, 11], [2, 3, 12, 13]]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=4), st.integers(0, 1000))
def test_standardised_leads_equal_the_formula(lengths, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ecg = rng.normal(size=(len(lengths), 3, 40)) * rng.uniform(0.1, 3, (len(lengths), 3, 1)) + 0.5
    out = standardise_leads(torch.from_numpy(ecg), torch.tensor(lengths)).numpy()
    for row, length in enumerate(lengths):
        for lead in range(3):
            real = ecg[row, lead, :length]
            expected = (real - real.mean()) / np.sqrt(real.var(ddof=1) + 1e-6)
            np.testing.assert_allclose(out[row, lead, :length], expected, rtol=1e-4, atol=1e-4)
            assert not out[row, lead, length:].any()


def test_whole_records_give_the_same_with_and_without_lengths() -> None:
    ecg = torch.randn(2, 12, 100)
    torch.testing.assert_close(standardise_leads(ecg), standardise_leads(ecg, torch.tensor([100, 100])))


@pytest.mark.parametrize("n_samples", [None, torch.tensor([30])])
def test_a_flat_lead_becomes_zeros(n_samples) -> None:
    ecg = torch.zeros(1, 2, 50)
    ecg[0, 1, :30] = 0.7  # flat, but not at zero
    ecg[0, 1, 30:] = 0.7 if n_samples is None else 9.0
    assert standardise_leads(ecg, n_samples).abs().max() < 1e-3


def test_one_real_sample_gives_no_infinity() -> None:
    assert standardise_leads(torch.ones(1, 1, 4), torch.tensor([1])).isfinite().all()
