"""What is doubtful about a recording: every number against its formula, every reason against a fault and against real ECGs."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.limb_leads import LIMB_LEADS
from cmelt_plugin.data.plausibility import Measures, examine, nothing_left
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.resampling import resample
from cmelt_plugin.data.store.record_store import to_digital
from preprocess.synthetic_ecg.layouts.challenge_records import draw, samples

ALL = np.ones(12, dtype=bool)
LOUD = 4  # a recording whose amplitude is above 1 mV, so that five times that is above 5 mV


@functools.cache
def _ecg(index):
    return samples(draw(11, index)).astype(np.float64)


def ecg(index=0):
    """A synthetic recording, float64 [12, 5000] in mV, which nothing is doubtful about."""
    return _ecg(index).copy()


def judged(signal, kept=None):
    digital, clipped = to_digital(signal)
    return examine(signal, digital, clipped, kept)


def codes(signal, kept=None):
    return [reason.code for reason in judged(signal, kept).reasons]


def text(signal, code):
    (found,) = [reason.text for reason in judged(signal).reasons if reason.code == code]
    return found


def window_spans(signal):
    """Peak to peak of each lead in windows of about 2 s, median over the windows."""
    samples = signal.shape[1]
    count = max(1, samples // 1000)
    width = samples // count
    return np.array(
        [np.median([np.ptp(lead[k * width : (k + 1) * width]) for k in range(count)]) for lead in np.asarray(signal, float)]
    )


def mixed(seed=0, samples=3210):
    """Random leads with hum, drift and offsets, of no round length: every measure has something to measure."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 500
    signal = rng.normal(size=(12, samples)) * rng.uniform(0.2, 2, (12, 1)) + rng.uniform(-3, 3, (12, 1))
    return signal + np.sin(2 * np.pi * 0.3 * time) + 0.7 * np.sin(2 * np.pi * 60 * time + rng.uniform(0, 6, (12, 1)))


# -- Each number against its formula ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [500, 1999, 3210, 5000])
def test_amplitude_is_the_median_of_windows_and_leads(samples):
    signal = mixed(1, samples)
    signal[3] = 0.25  # constant leads are not asked
    expected = np.median(np.delete(window_spans(signal), 3))
    stored = np.median(np.delete(window_spans(to_digital(signal)[0]), 3)) * 0.001
    measures = judged(signal).measures
    assert measures.amplitude == pytest.approx(expected)
    assert measures.stored == pytest.approx(stored) and measures.stored != measures.amplitude


def test_a_single_spike_and_a_drift_leave_the_amplitude_alone():
    clean = ecg()
    spiked = clean.copy()
    spiked[:, 1234] += 30
    drifting = clean + np.linspace(0, 3, 5000)
    amplitude = judged(clean).measures.amplitude
    assert judged(spiked).measures.amplitude == pytest.approx(amplitude, rel=0.1)
    assert judged(drifting).measures.amplitude == pytest.approx(amplitude, rel=0.6) and "amplitude-high" not in codes(drifting)


def test_stored_amplitude_is_that_after_clipping():
    measures = judged(20 * ecg(LOUD)).measures
    assert measures.amplitude == pytest.approx(20 * judged(ecg(LOUD)).measures.amplitude)
    offset = ecg(LOUD) + 32.5  # the upper half of every beat is cut off
    measures = judged(offset).measures
    assert measures.stored == pytest.approx(0.001 * np.median(window_spans(to_digital(offset)[0])))
    assert measures.stored < 0.8 * measures.amplitude


def test_peak_offset_levels_and_clipped():
    signal = ecg()
    signal[7, 100:103] = [-40, 33, 32.767]
    measures = judged(signal).measures
    assert (measures.peak, measures.clipped) == (40, 2)
    assert measures.offset == pytest.approx(max(abs(lead.mean()) for lead in signal))
    coarse = np.round(ecg() / 0.05) * 0.05
    spans = window_spans(coarse)
    middle = np.argsort(spans, kind="stable")[5]
    assert judged(coarse).measures.levels == len(set(to_digital(coarse)[0][middle].tolist()))


def test_standing_is_the_share_at_either_end():
    signal = ecg()
    signal[8, :300] = 9
    signal[9, :700] = -9
    assert judged(signal).measures.standing == pytest.approx(0.14)
    shares = [(lead == end).mean() for lead in to_digital(ecg())[0] for end in (lead.max(), lead.min())]
    assert judged(ecg()).measures.standing == max(shares)
    low = ecg() / 100
    low[4] = np.minimum(low[4], 0)
    assert judged(low).measures.standing == 0  # leads of a few units are always at one end


def leftovers(signal):
    """Root mean square of what each relation leaves over, and of each limb lead, without the means."""
    limb = signal[:6] - signal[:6].mean(axis=1, keepdims=True)
    i, ii, iii, avr, avl, avf = limb
    left = [iii - (ii - i), avr + (i + ii) / 2, avl - (i - ii / 2), avf - (ii - i / 2)]
    return [np.sqrt((each**2).mean()) for each in left], np.sqrt((limb**2).mean(axis=1))


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def test_residual_is_the_leftover_of_the_four_relations():
    signal = mixed(2)
    left, sizes = leftovers(signal)
    assert judged(signal).measures.residual == pytest.approx(rms(left) / rms(sizes))


@pytest.mark.parametrize(
    "lacking, asked, involved",
    [
        (("aVR",), (0, 2, 3), (0, 1, 2, 4, 5)),
        (("III", "aVF"), (1, 2), (0, 1, 3, 4)),
        (("I",), (), ()),
        (("III", "aVR", "aVL", "aVF"), (), ()),
    ],
)
def test_relations_are_asked_of_the_leads_that_are_there(lacking, asked, involved):
    signal = mixed(3)
    kept = np.array([lead not in lacking for lead in LEADS])
    signal[~kept] = 0
    left, sizes = leftovers(signal)
    measures = judged(signal, kept).measures
    if not asked:
        assert math.isnan(measures.residual)
    else:
        expected = rms(np.array(left)[list(asked)]) / rms(sizes[list(involved)])
        assert measures.residual == pytest.approx(expected)
    assert measures == judged(signal).measures  # constant leads are left out as if they were not there


def test_hum_is_the_share_of_a_sine():
    time = np.arange(5000) / 500
    rng = np.random.default_rng(5)
    signal = rng.normal(size=(12, 5000)) + 0.3 * np.sin(2 * np.pi * 50 * time + rng.uniform(0, 6, (12, 1)))
    power = hum = 0.0
    for lead in signal:
        for second in lead.reshape(10, 500):
            spectrum = np.abs(np.fft.rfft(second)) ** 2
            power += spectrum[1:250].sum() + spectrum[250] / 2
            hum += spectrum[50]
    measures = judged(signal).measures
    assert measures.hum == pytest.approx(hum / power)
    assert measures.hum == pytest.approx(0.045 / 1.045, rel=0.15)


def test_spread_is_the_variation_of_the_leads_sizes():
    signal = mixed(4, 3000)
    deviations, ranges = signal.std(axis=1), np.ptp(signal, axis=1)
    expected = min(deviations.std() / deviations.mean(), ranges.std() / ranges.mean())
    assert judged(signal).measures.spread == pytest.approx(expected)
    scored = (signal - signal.mean(axis=1, keepdims=True)) / deviations[:, None]
    assert judged(scored).measures.spread < 1e-9
    assert judged((signal - signal.min(axis=1, keepdims=True)) / ranges[:, None]).measures.spread < 1e-9


# -- Each reason -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(8))
def test_nothing_is_doubtful_about_an_ordinary_recording(index):
    assert judged(ecg(index)).reasons == ()


def test_a_gain_of_2_000_000_is_low_and_the_sentence_has_both_amplitudes():
    low = ecg(LOUD) / 1000
    assert codes(low)[:2] == ["amplitude-low", "quantised"]
    found = text(low, "amplitude-low")
    measures = judged(low).measures
    assert found == f"the median lead spans {measures.amplitude:.3g} mV, {measures.stored:.3g} as stored, below 0.1 mV"
    assert measures.amplitude != measures.stored


def test_a_gain_of_200_for_1000_is_high():
    assert codes(5 * ecg(LOUD)) == ["amplitude-high"]
    assert text(5 * ecg(LOUD), "amplitude-high").endswith("mV, above 5 mV")


def test_clipped_samples_are_named_with_their_leads():
    signal = ecg()
    signal[[6, 9], 100:105] = 40
    assert codes(signal) == ["clipped"]
    assert text(signal, "clipped") == "10 samples beyond ±32.767 mV in V1, V4, the largest 40 mV"


def test_offsets():
    signal = ecg()
    signal[2] += 6
    signal[8] -= 7
    assert codes(signal) == ["offset"]
    place, largest = text(signal, "offset").split(", the largest ")
    assert place.endswith("in III, V3") and float(largest.split()[0]) == pytest.approx(7, abs=0.05)


def test_few_levels():
    assert "quantised" in codes(np.round(ecg() / 0.1) * 0.1)
    assert "quantised" not in codes(np.round(ecg() / 0.005) * 0.005)


def test_a_lead_that_stands_at_its_limit():
    signal = ecg()
    signal[10] = np.minimum(signal[10], np.quantile(signal[10], 0.9))
    assert codes(signal) == ["saturated"] and text(signal, "saturated").startswith("V5 at the largest")


@pytest.mark.parametrize("hertz", [50, 60, 49.9])
def test_hum_is_named(hertz):
    signal = ecg() + 0.2 * np.sin(2 * np.pi * hertz * np.arange(5000) / 500)
    assert codes(signal)[-1] == "mains"
    assert text(signal, "mains").endswith(f"is hum of {round(hertz)} Hz")
    assert "mains" not in codes(ecg() + 0.2 * np.sin(2 * np.pi * 40 * np.arange(5000) / 500))


@pytest.mark.parametrize("pair", list(itertools.combinations(range(6), 2)))
def test_exchanged_limb_leads_contradict_the_relations(pair):
    order = list(range(12))
    order[pair[0]], order[pair[1]] = pair[1], pair[0]
    found = text(ecg()[order], "lead-relations")
    assert f"with {LIMB_LEADS[pair[0]]} and {LIMB_LEADS[pair[1]]} exchanged they would agree" in found


@pytest.mark.parametrize("lead", range(6))
def test_inverted_limb_leads_contradict_the_relations(lead):
    signal = ecg()
    signal[lead] *= -1
    assert codes(signal) == ["lead-relations"]
    assert f"with {LIMB_LEADS[lead]} inverted they would agree" in text(signal, "lead-relations")


def test_what_the_relations_cannot_see():
    signal = ecg()
    chest = signal[[0, 1, 2, 3, 4, 5, 11, 10, 9, 8, 7, 6]]
    assert codes(chest) == []
    i, ii = signal[:2]
    left, foot = -i, ii - i  # the electrodes of both arms exchanged: the device computes all six from them
    signal[:6] = [left, foot, foot - left, -(left + foot) / 2, left - foot / 2, foot - left / 2]
    assert codes(signal) == []


def test_unrelated_leads_get_no_explanation():
    signal = np.random.default_rng(0).normal(size=(12, 5000))
    assert text(signal, "lead-relations").endswith("% of their size")


def test_leads_that_are_lacking_are_not_asked():
    kept = np.array([lead == "I" for lead in LEADS])
    alone = np.where(kept[:, None], ecg(), 0)
    found = judged(alone, kept)
    assert found.reasons == () and math.isnan(found.measures.residual) and math.isnan(found.measures.spread)
    assert found.measures.amplitude == window_spans(ecg())[0]


@pytest.mark.parametrize("samples", [1, 2, 120, 499, 500, 999, 4999])
def test_any_length_is_measured(samples):
    measures = judged(ecg()[:, :samples]).measures
    assert math.isnan(measures.hum) == (samples < 500) and math.isfinite(measures.amplitude)


@pytest.mark.parametrize("value", [1e5, 1e150, 1e300])
def test_an_absurd_value_is_clipped_and_named_without_a_warning(value, recwarn):
    signal = ecg()
    signal[0, 0], signal[8, 7] = value, -value
    found = judged(signal)
    assert [reason.code for reason in found.reasons][0] == "clipped" and f"{value:.4g} mV" in found.reasons[0].text
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]  # numpy's


# -- What is lost ----------------------------------------------------------------------------------------------------------


def lost(signal, kept=ALL):
    return nothing_left(signal, *to_digital(signal), kept)


def test_zero_after_rounding_is_lost():
    reason = lost(ecg(LOUD) * 1e-4)
    assert reason.code == "zero" and "zero after rounding to 0.001 mV, the largest is 0.0" in reason.text
    assert lost(ecg(LOUD) * 1e-3) is None


def test_a_large_offset_is_lost():
    reason = lost(ecg() + 1000)
    assert reason.code == "clipped"
    assert "100 % of the samples are beyond ±32.767 mV" in reason.text and reason.text.endswith("take off the offset")
    assert lost(ecg() * 1000).code == "clipped"


def test_a_quarter_of_the_samples_may_clip():
    signal = ecg()
    signal[:3] = 40
    assert lost(signal) is None
    signal[3, 0] = 40
    assert lost(signal).code == "clipped"
    kept = np.array([lead in ("I", "II") for lead in LEADS])  # of two leads, one is half
    signal = np.where(kept[:, None], ecg(), 0)
    signal[0] += 40
    assert lost(signal, kept).code == "clipped"


# -- Invariances -----------------------------------------------------------------------------------------------------------


@given(index=st.integers(0, 7), factor=st.floats(-2.5, 2.5).map(lambda power: 10**power), sign=st.sampled_from([-1, 1]))
@settings(max_examples=40, deadline=None)
def test_scale_moves_the_amplitude_and_nothing_else(index, factor, sign):
    one, other = judged(ecg(index)).measures, judged(sign * factor * ecg(index)).measures
    for name in ("amplitude", "peak", "offset"):
        assert getattr(other, name) == pytest.approx(factor * getattr(one, name))
    for name in ("residual", "hum", "spread"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-6)


@given(index=st.integers(0, 7), factor=st.sampled_from([1e-3, 1e-6, 1 / 200, 12.0, 200.0, 1000.0, 1e6]))
@settings(max_examples=40, deadline=None)
def test_every_usual_mistake_of_the_unit_is_seen(index, factor):
    signal = factor * ecg(index)
    found = codes(signal)
    assert "amplitude-low" in found if factor < 1 else "amplitude-high" in found


@given(index=st.integers(0, 7), factors=st.lists(st.floats(0.05, 5), min_size=12, max_size=12), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_measures_do_not_depend_on_chest_leads_order_or_on_memory_layout(index, factors, seed):
    signal = ecg(index) * np.array(factors)[:, None]
    order = [*range(6), *(6 + np.random.default_rng(seed).permutation(6))]
    one, other = judged(signal).measures, judged(np.asfortranarray(signal[order])).measures
    assert tuple(one) == pytest.approx(tuple(other), abs=1e-6)


@given(offsets=st.lists(st.floats(-4, 4), min_size=12, max_size=12))
@settings(max_examples=20, deadline=None)
def test_offsets_change_only_the_offset_and_the_peak(offsets):
    one, other = judged(ecg(1)).measures, judged(ecg(1) + np.array(offsets)[:, None]).measures
    for name in ("amplitude", "residual", "hum", "spread"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6, abs=1e-4)


def test_fields_are_stable():
    assert Measures._fields[:4] == ("amplitude", "stored", "peak", "offset")


# -- Real recordings -------------------------------------------------------------------------------------------------------


def test_real_recordings_are_rarely_doubtful(real_data):
    files = sorted((real_data / "ptb-xl" / "records100").rglob("*.hea"))[::10] + sorted((real_data / "cinc2021").glob("*.hea"))
    if not files:
        pytest.skip(f"no recordings at {real_data}")
    found = {}
    for file in files:
        recording = read_wfdb(str(file.with_suffix("")))
        found[file.stem] = codes(resample(np.asarray(recording.signal, dtype=np.float64), recording.rate)[:, :5000])
    # Of 100, one has as much hum as ECG.
    assert {name: reasons for name, reasons in found.items() if reasons} == {"JS20007": ["mains"]}
