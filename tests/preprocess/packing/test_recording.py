"""One recording: what is rejected, and what the store gets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Recording, Rejected
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.resampling import resample
from preprocess.packing.recording import SignalOptions, to_row
from tests.preprocess.mimic_layout import MIMIC_LEADS, make_ecg, write_record


def recording(ecg=None, leads=LEADS, unit="mV", rate=500.0):
    ecg = make_ecg(0, leads=len(leads), rate=rate) if ecg is None else ecg
    return Recording(ecg, leads, [unit] * len(leads), rate)


def test_a_good_recording():
    ecg = make_ecg(1)
    row = to_row(recording(ecg))
    assert row.digital.shape == (12, 5000) and row.digital.dtype == np.int16
    assert (row.n_samples, row.clipped, row.rate) == (5000, 0, 500.0)
    assert np.abs(row.digital * 0.001 - ecg).max() <= 0.0005 + 1e-9


def test_leads_may_be_standardised():
    ecg = make_ecg(1, seconds=8) * np.linspace(0.2, 3, 12)[:, None] + 0.5
    ecg[4] = 0.25
    row = to_row(recording(ecg), SignalOptions(allow_flat_leads=1, standardise_leads=True))
    real = row.digital[:, : row.n_samples] * 0.001
    assert np.abs(real.mean(axis=1)).max() < 1e-3
    assert np.abs(np.delete(real.std(axis=1), 4) - 1).max() < 1e-3
    assert not row.digital[4].any() and not row.digital[:, row.n_samples :].any()
    plain = to_row(recording(ecg), SignalOptions(allow_flat_leads=1))
    assert row.plausibility == plain.plausibility  # what was measured is the recording in mV
    assert np.corrcoef(real[0], plain.digital[0, : row.n_samples])[0, 1] > 0.999


def test_mimic_order_is_put_right(tmp_path):
    ecg = make_ecg(2)
    write_record(tmp_path / "a", ecg, leads=MIMIC_LEADS)
    digital = to_row(read_wfdb(str(tmp_path / "a"))).digital
    canonical = ecg[[MIMIC_LEADS.index(lead) for lead in LEADS]]
    assert np.abs(digital * 0.001 - canonical).max() <= 0.001
    assert np.abs(digital[4] * 0.001 - ecg[5]).max() <= 0.001  # aVL stands sixth in MIMIC's files


@pytest.mark.parametrize(
    "leads, detail",
    [
        (LEADS[:-1], "11 leads where the standard 12 are expected: missing V6"),
        ((*LEADS[:-1], "V5"), "missing V6; doubled V5"),
        ((*LEADS[:-1], "ECG"), "missing V6; unknown ECG"),
    ],
)
def test_wrong_leads(tmp_path, leads, detail):
    write_record(tmp_path / "a", make_ecg(0, leads=len(leads)), leads=leads)
    with pytest.raises(Rejected, match=f"^leads: .*{detail}"):
        to_row(read_wfdb(str(tmp_path / "a")))


@pytest.mark.parametrize("rate", [400.0, 100.0, 257.0, 1000.0, 499.8])
def test_resampling_keeps_the_frequency(rate):
    time = np.arange(round(10 * rate)) / rate
    ecg = np.tile(np.sin(2 * np.pi * 7.0 * time), (12, 1))
    row = to_row(recording(ecg, rate=rate))
    assert row.rate == rate
    assert row.n_samples == 5000
    expected = np.sin(2 * np.pi * 7.0 * np.arange(5000) / 500)
    assert np.abs(row.digital[:, 100:-100] * 0.001 - expected[100:-100]).max() < 0.02
    spectrum = np.abs(np.fft.rfft(row.digital[0]))
    assert np.fft.rfftfreq(5000, 1 / 500)[spectrum.argmax()] == pytest.approx(7.0)


def test_resampling_does_not_ring_at_the_ends():
    assert np.allclose(resample(np.full((12, 1000), 1.5), 100.0), 1.5, atol=0.01)


@given(rate=st.floats(60, 5000), seconds=st.floats(5, 11))
@settings(max_examples=20, deadline=None)
def test_duration_is_kept(rate, seconds):
    samples = round(rate * seconds)
    ecg = np.random.default_rng(0).normal(size=(12, samples))
    if samples < 5 * rate:
        return
    expected = min(5000, samples * 500 / rate)
    assert abs(to_row(recording(ecg, rate=rate)).n_samples - expected) <= 1 + 5e-4 * expected


def test_seven_seconds_are_padded_at_the_end():
    ecg = make_ecg(3, seconds=7)
    row = to_row(recording(ecg))
    assert row.n_samples == 3500
    assert np.abs(row.digital[:, :3500] * 0.001 - ecg).max() <= 0.0005 + 1e-9
    assert not row.digital[:, 3500:].any()


def test_three_seconds_are_too_short():
    with pytest.raises(Rejected, match="^short: 3.00 s, at least 5 s are needed"):
        to_row(recording(make_ecg(3, seconds=3)))
    assert to_row(recording(make_ecg(3, seconds=3)), SignalOptions(min_seconds=2)).n_samples == 1500
    with pytest.raises(Rejected, match="^short"):
        to_row(recording(np.zeros((12, 0))), SignalOptions(min_seconds=0))


def test_long_recordings_are_cropped():
    ecg = make_ecg(4, seconds=12)
    start = to_row(recording(ecg))
    centre = to_row(recording(ecg), SignalOptions(crop="centre"))
    assert start.n_samples == centre.n_samples == 5000
    assert np.abs(start.digital * 0.001 - ecg[:, :5000]).max() <= 0.0005 + 1e-9
    assert np.abs(centre.digital * 0.001 - ecg[:, 500:5500]).max() <= 0.0005 + 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_values(value):
    ecg = make_ecg(5)
    ecg[7, 100:103] = value
    with pytest.raises(Rejected, match="^nan: 3 samples without a value in V2$"):
        to_row(recording(ecg))


def test_all_zero_is_never_accepted():
    with pytest.raises(Rejected, match="^zero"):
        to_row(recording(np.zeros((12, 5000))), SignalOptions(allow_flat_leads=12))


def test_flat_leads():
    ecg = make_ecg(6)
    ecg[[6, 9]] = 0.25
    with pytest.raises(Rejected, match="^flat: constant in V1, V4$"):
        to_row(recording(ecg))
    with pytest.raises(Rejected, match="^flat"):
        to_row(recording(ecg), SignalOptions(allow_flat_leads=1))
    digital = to_row(recording(ecg), SignalOptions(allow_flat_leads=2)).digital
    assert (digital[[6, 9]] == 250).all()


@pytest.mark.parametrize("unit, factor", [("V", 1e-3), ("uV", 1e3), ("\u00b5V", 1e3), ("\u03bcV", 1e3), ("MV", 1), ("nV", 1e6)])
def test_units_become_millivolts(unit, factor):
    ecg = make_ecg(7)
    row = to_row(recording(ecg * factor, unit=unit))
    assert np.abs(row.digital * 0.001 - ecg).max() <= 0.0005 + 1e-9


def test_unknown_unit():
    with pytest.raises(Rejected, match="^units: lead I is in 'mmHg'"):
        to_row(recording(unit="mmHg"))


def test_wrong_scale_is_clipped_and_counted():
    ecg = make_ecg(9)
    ecg[0, :4] = [33, -33, 32.7, 1000]
    row = to_row(recording(ecg))
    assert row.clipped == 3
    assert row.digital[0, :4].tolist() == [32767, -32767, 32700, 32767]


@pytest.mark.parametrize("rate", [0.0, 1.0, 1e6, float("nan")])
def test_impossible_rate(rate):
    with pytest.raises(Rejected, match="^rate: "):
        to_row(Recording(make_ecg(0), LEADS, ["mV"] * 12, rate))


def test_real_recordings_with_flat_leads(real_data):
    folder = real_data / "cinc2021"
    reasons = {}
    for header in sorted(folder.glob("*.hea")):
        try:
            row = to_row(read_wfdb(str(header.with_suffix(""))))
            assert row.n_samples > 2500
        except Rejected as reason:
            reasons[header.stem] = str(reason)
    if not list(folder.glob("*.hea")):
        pytest.skip(f"no recordings in {folder}")
    assert {name: reason for name, reason in reasons.items() if reason.startswith("flat")}.keys() >= {
        "JS20004",
        "JS20008",
    }
    flat = to_row(read_wfdb(str(folder / "JS20004")), SignalOptions(allow_flat_leads=3))
    assert flat.n_samples == 5000
