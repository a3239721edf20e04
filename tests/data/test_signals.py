"""The front end: packing and serving take the same numbers from a file, and a system may ask for other leads or rates."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretrained_files import random_ecg, write_record
from scipy.signal import resample_poly

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.prepared_ecg import prepare_ecg
from cmelt_plugin.data.readers.contract import Recording, Rejected
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.resampling import resample
from cmelt_plugin.data.signal_contract import STORE_SIGNALS, SignalContract
from cmelt_plugin.data.signals import at_contract_rate, calibrate
from preprocess.packing.recording import SignalOptions, to_row

EIGHT_LEADS = ("II", "I", "V1", "V2", "V3", "V4", "V5", "V6")


def recording(seconds: float = 10, rate: float = 500, leads=LEADS, unit: str = "mV") -> Recording:
    ecg = random_ecg(seconds, rate)[[LEADS.index(lead) for lead in leads]]
    return Recording(ecg, leads, [unit] * len(leads), rate)


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(LEADS),
    rate=st.sampled_from([100, 257, 400, 500, 1000]),
    seconds=st.floats(5, 13),
    unit=st.sampled_from(["mV", "uV", "V"]),
    crop=st.sampled_from(["start", "centre"]),
    seed=st.integers(0, 100),
)
def test_packing_and_serving_give_the_same_numbers(tmp_path_factory, order, rate, seconds, unit, crop, seed) -> None:
    """One file, two ways: what is packed is what is served, rounded to the store's units."""
    scale = {"mV": 1, "uV": 1000, "V": 0.001}[unit]
    path = write_record(tmp_path_factory.mktemp("r"), "r", random_ecg(seconds, rate, seed) * scale, rate, order, unit)
    options = SignalOptions(crop=crop)
    row = to_row(read_wfdb(str(path), options.reading), options)
    prepared = prepare_ecg(path, crop=crop)
    assert prepared.n_samples.tolist() == [row.n_samples]
    assert prepared.doubts == (row.plausibility.reasons,)
    calibrated = calibrate(read_wfdb(str(path)), crop)  # the whole file, not the part that packing reads
    ecg = at_contract_rate(calibrated)
    np.testing.assert_array_equal(prepared.ecg[0, :, : row.n_samples].numpy(), ecg.astype(np.float32))
    np.testing.assert_array_equal(row.digital[:, : row.n_samples], np.rint(ecg / 0.001).astype(np.int16))
    assert not row.digital[:, row.n_samples :].any() and not prepared.ecg[0, :, row.n_samples :].any()


def test_another_contract_chooses_leads_rate_and_length() -> None:
    contract = SignalContract(sample_rate=100, n_samples=800, leads=EIGHT_LEADS)
    given_recording = recording(12, 400)
    calibrated = calibrate(given_recording, "centre", contract=contract)
    assert calibrated.given.all() and calibrated.ecg.shape == (8, 3200)
    expected = given_recording.signal[[LEADS.index(lead) for lead in EIGHT_LEADS], 800:4000]
    np.testing.assert_array_equal(calibrated.ecg, expected)
    ecg = at_contract_rate(calibrated, contract)
    np.testing.assert_array_equal(ecg, resample(expected, 400, 100)[:, :800])
    prepared = prepare_ecg(given_recording.signal, 400, crop="centre", contract=contract)
    assert prepared.ecg.shape == (1, 8, 800) and prepared.padding is None
    np.testing.assert_array_equal(prepared.ecg[0].numpy(), ecg.astype(np.float32))


def test_serving_of_a_file_keeps_a_contract_of_more_than_ten_seconds(tmp_path) -> None:
    contract = SignalContract(n_samples=7500)
    signal = random_ecg(20)
    path = write_record(tmp_path, "r", signal)
    prepared = prepare_ecg(path, contract=contract)
    np.testing.assert_allclose(prepared.ecg[0].numpy(), signal[:, :7500], atol=0.001)


def test_leads_that_are_missing_are_zero_where_they_are_not_required() -> None:
    calibrated = calibrate(recording(leads=("V2", "I")), required=("I",))
    assert [lead for lead, there in zip(LEADS, calibrated.given) if there] == ["I", "V2"]
    assert not calibrated.ecg[~calibrated.given].any() and calibrated.ecg[calibrated.given].any(axis=1).all()
    with pytest.raises(Rejected, match="^leads: missing II, which the model reads"):
        calibrate(recording(leads=("V2", "I")), required=("I", "II"))
    with pytest.raises(Rejected, match="^leads: 2 leads where the standard 12 are expected"):
        calibrate(recording(leads=("V2", "I")))


@pytest.mark.parametrize("rate", [100, 360, 499.9, 500, 1000])
def test_many_recordings_are_resampled_as_one_is(rate) -> None:
    signal = random_ecg(3, rate)
    np.testing.assert_array_equal(resample(signal[None], rate)[0], resample(signal, rate))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rate", [100, 257, 400, 1000])
def test_the_filter_is_the_one_that_scipy_designs(rate, dtype) -> None:
    signal = random_ecg(3, rate).astype(dtype)
    ratio = Fraction(500, rate)
    expected = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    resampled = resample(signal, rate)
    assert resampled.dtype == dtype
    np.testing.assert_array_equal(resampled, expected)


def test_the_store_has_ten_seconds() -> None:
    assert STORE_SIGNALS.seconds == 10 and STORE_SIGNALS.leads == LEADS
