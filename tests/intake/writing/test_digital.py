"""Steps are found in values, and values come back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from format_files import known_counts

from cmelt_plugin.intake.writing.digital import FINEST, digitised, step_of


@pytest.mark.parametrize("step", (0.0025, 0.00488, 0.00375, 0.000183, 0.005, 0.001, 0.0152544, 1e-5))
@pytest.mark.parametrize("offset", (0, 20_000))
def test_the_step_of_counts(step: float, offset: int) -> None:
    counts = known_counts(3, 2000).astype(int) + offset
    signal = (counts * step).astype(np.float32)
    found = digitised(signal)
    assert found.bits == 16 and found.steps == pytest.approx(step)
    np.testing.assert_array_equal(found.counts, counts)


def test_a_zero_between_two_counts_halves_the_step() -> None:
    signal = ((known_counts(1) + 0.5) * 0.005).astype(np.float32)
    assert step_of(signal) == pytest.approx(0.0025)


def test_numbers_without_a_step_are_kept_to_a_nanovolt() -> None:
    signal = np.random.default_rng(0).normal(size=(2, 5000)).astype(np.float32)
    found = digitised(signal)
    assert found.bits == 32 and (found.steps == FINEST).all()
    np.testing.assert_allclose(found.counts * found.steps[:, None], signal, atol=0.6 * FINEST)
    large = digitised(signal * 5000)
    np.testing.assert_allclose(large.counts * large.steps[:, None], signal * 5000, rtol=1e-6, atol=1e-5)


def test_missing_samples_and_constant_leads() -> None:
    signal = np.zeros((4, 10), np.float32)
    signal[1], signal[2], signal[3, 1:] = 0.25, np.nan, np.arange(9) * 0.005
    signal[3, 0] = np.nan
    found = digitised(signal)
    assert found.bits == 16 and (found.counts[2] == -32768).all() and found.counts[3, 0] == -32768
    np.testing.assert_allclose((found.counts * found.steps[:, None])[[0, 1]], signal[:2], atol=1e-9)
    np.testing.assert_array_equal(found.counts[3, 1:], np.arange(9))
