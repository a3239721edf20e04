"""The quality index falls with everything that disturbs an ECG."""

from __future__ import annotations

import numpy as np
import pytest

from cmelt_plugin.intake.quality import quality_index
from preprocess.synthetic_ecg.challenge_records import draw, samples

RATE = 500.0
CLEAN = samples(draw(0, 0))
TIME = np.arange(CLEAN.shape[1]) / RATE
NOISE = np.random.default_rng(0).normal(size=CLEAN.shape)


@pytest.mark.parametrize(
    "disturbance",
    (
        NOISE * 0.3,
        2 * np.sin(2 * np.pi * 0.2 * TIME),
        0.5 * np.sin(2 * np.pi * 50 * TIME),
    ),
    ids=("noise", "baseline", "mains"),
)
def test_disturbances_lower_it(disturbance: np.ndarray) -> None:
    clean, some, more = (quality_index(CLEAN + size * disturbance, RATE) for size in (0, 0.5, 1))
    assert 1 >= clean > some > more >= 0 and clean > 0.5


@pytest.mark.parametrize("value", (0.0, np.nan))
def test_a_lead_that_says_nothing_counts_as_nothing(value: float) -> None:
    lost = CLEAN.copy()
    lost[3:6] = value
    others = np.delete(CLEAN, slice(3, 6), axis=0)
    assert quality_index(lost, RATE) == pytest.approx(quality_index(others, RATE) * 9 / 12)
    assert quality_index(lost[3:6], RATE) == 0


def test_leads_at_the_end_of_their_range_count_as_nothing() -> None:
    clipped = np.clip(CLEAN, -0.02, 0.02)
    assert quality_index(clipped, RATE) == 0 and quality_index(CLEAN * 100, RATE) == 0
