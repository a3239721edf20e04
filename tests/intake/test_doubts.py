"""What is doubtful is named, and nothing is mended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from limb_leads import limb_leads

from cmelt_plugin.data.electrodes import exchanged_electrodes
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.intake.doubts import doubts
from cmelt_plugin.intake.reading import read_ecg
from cmelt_plugin.intake.recording import Recording
from preprocess.synthetic_ecg.layouts.challenge_records import draw, samples

SIGNAL = samples(draw(0, 1)).astype(np.float32)
GOOD = Recording(SIGNAL, 500.0, LEADS)


def codes(recording: Recording) -> list[str]:
    return [reason.code for reason in doubts(recording)]


def test_an_ordinary_recording_is_not_doubtful() -> None:
    assert doubts(GOOD) == ()
    order = np.random.default_rng(0).permutation(12)
    assert doubts(replace(GOOD, signal=SIGNAL[order], leads=tuple(LEADS[row] for row in order))) == ()
    assert doubts(replace(GOOD, signal=SIGNAL[:2, ::2], leads=("II", "V1"), sample_rate=250.0)) == ()


def test_columns_that_were_exchanged_are_named() -> None:
    before = SIGNAL.copy()
    (reason,) = doubts(replace(GOOD, leads=("II", "I", *LEADS[2:])))
    assert reason.code == "lead-relations" and "with I and II exchanged they would agree" in reason.text
    np.testing.assert_array_equal(SIGNAL, before)


def test_each_doubt() -> None:
    hum = 2 * np.sin(2 * np.pi * 50 * np.arange(5000) / 500)
    assert "mains" in codes(replace(GOOD, signal=SIGNAL + hum))
    assert "amplitude-high" in codes(replace(GOOD, signal=SIGNAL * 100))
    assert "amplitude-low" in codes(replace(GOOD, signal=SIGNAL / 100))
    assert "saturated" in codes(replace(GOOD, signal=SIGNAL.clip(-0.1, 0.1)))
    flat = SIGNAL.copy()
    flat[7] = 0.25
    assert [str(reason) for reason in doubts(replace(GOOD, signal=flat))] == ["flat: V2 constant"]
    gaps = SIGNAL.copy()
    gaps[7, :1250] = np.nan
    assert [str(reason) for reason in doubts(replace(GOOD, signal=gaps))] == [
        "missing: V2 without a value for 25 % of the time"
    ]
    assert codes(replace(GOOD, signal=gaps[7:8], leads=("V2",))) == ["missing", "leads"]
    assert codes(replace(GOOD, signal=SIGNAL[:1], leads=("X",))) == ["leads"]
    assert codes(replace(GOOD, signal=SIGNAL * 0)) == ["flat", "zero"]


def exchanged(signal: np.ndarray, pair: str) -> np.ndarray:
    """The recording as it were with two electrodes exchanged; the chest leads keep their values but for a common part."""
    one, two = signal[0], signal[1]
    if pair == "RA and LA":
        limb = -one, two - one
    elif pair == "RA and LL":
        limb = one - two, -two
    elif pair == "RA and RL":  # the potential of RL is that of LL
        limb = one - two, 0 * two
    else:
        limb = two, two
    return np.concatenate([limb_leads(*limb), signal[6:]])


PAIRS = ("RA and LA", "RA and LL", "RA and RL", "LA and RL")


@pytest.mark.parametrize("pair", PAIRS)
def test_electrodes_that_were_exchanged_are_named(pair: str) -> None:
    wrong = exchanged(SIGNAL, pair)
    assert exchanged_electrodes(wrong, 500.0) == pair
    if "RL" not in pair:  # there a lead is flat to the last bit here, which is the doubt that is named
        assert str(doubts(replace(GOOD, signal=wrong))[-1]) == f"electrodes: the electrodes {pair} may be exchanged"


def test_electrodes_of_real_recordings(real_data: Path) -> None:
    """Folds that the coefficients were not fitted to."""
    table = real_data / "ptb-xl" / "ptbxl_database.csv"
    if not table.is_file():
        pytest.skip(f"no {table}")
    rows = pd.read_csv(table)
    names = rows.filename_lr[rows.strat_fold > 8]
    signals = [read_ecg(str(table.parent / name)).signal for name in names if (table.parent / f"{name}.hea").is_file()]
    assert len(signals) > 100
    named = {pair: np.mean([exchanged_electrodes(exchanged(ecg, pair), 100.0) == pair for ecg in signals]) for pair in PAIRS}
    wrong = np.mean([exchanged_electrodes(ecg, 100.0) != "" for ecg in signals])
    print(f"{len(signals)} recordings: named {named}, wrongly {wrong:.4f}")
    assert wrong <= 0.02 and min(named.values()) >= 0.85
