"""The quality index falls with everything that disturbs an ECG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cmelt_plugin.intake.quality import quality_index
from cmelt_plugin.intake.reading import read_ecg
from preprocess.synthetic_ecg.layouts.challenge_records import draw, samples

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


def test_it_ranks_real_recordings(real_data: Path) -> None:
    """By PTB-XL's own notes on disturbances, of folds 1 to 8."""
    table = real_data / "ptb-xl" / "ptbxl_database.csv"
    if not table.is_file():
        pytest.skip(f"no {table}")
    rows = pd.read_csv(table)
    there = np.array([(table.parent / f"{name}.hea").is_file() for name in rows.filename_lr])
    rows = rows[(rows.strat_fold <= 8) & there]
    indices = np.array([quality_index(read_ecg(str(table.parent / name)).signal, 100.0) for name in rows.filename_lr])
    measured = {}
    for kind in ("baseline_drift", "static_noise", "burst_noise"):
        noted = rows[kind].notna().to_numpy()
        measured[kind] = int(noted.sum()), round(float(roc_auc_score(~noted, indices)), 3)
    print(f"{len(rows)} recordings; noted, and area under the curve: {measured}")
    assert measured["baseline_drift"][1] > 0.7
