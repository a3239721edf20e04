"""What the signals of the synthetic cohort show, measured on the samples."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from preprocess.synthetic_ecg.bumps import ATRIAL, QRS, T
from preprocess.synthetic_ecg.findings import SINUS, Findings
from preprocess.synthetic_ecg.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.record import plan_record, render
from preprocess.synthetic_ecg.rhythm import NORMAL, PREMATURE_ATRIAL, PREMATURE_VENTRICULAR, draw_rhythm
from preprocess.synthetic_ecg.subjects import draw_subject

RATE = 500
LEAD = {name: row for row, name in enumerate(MIMIC_LEADS)}


@pytest.fixture(scope="module")
def plans():
    return [plan_record(1, i, draw_subject(1, i)) for i in range(2500)]


@pytest.fixture(scope="module")
def examples(plans):
    """Twelve plans of each class, and of "plain": normal sinus rhythm without any finding."""
    found = defaultdict(list)
    for plan in plans:
        keys = plan.findings.labels | plan.findings.minor
        for key in keys if keys != {"SR"} else {"plain"}:
            if len(found[key]) < 12:
                found[key].append(plan)
    return found


def peaks(signal):
    """Seconds of the complexes, found from the slopes of all leads."""
    energy = uniform_filter1d((np.gradient(signal, axis=1) ** 2).sum(axis=0), 40)
    return find_peaks(energy, height=0.15 * energy.max(), distance=int(0.25 * RATE))[0] / RATE


def onsets(plan, kind=NORMAL):
    """Samples of the onsets of complexes that lie well inside the record."""
    chosen = (plan.rhythm.kind == kind) & (plan.rhythm.onset > 0.6) & (plan.rhythm.onset < 9.2)
    return np.rint(plan.rhythm.onset[chosen] * RATE).astype(int)


def mean_beat(plan, before=0.1, after=0.6, kind=NORMAL):
    """Average beat of the clean signal, ``[12, T]``, zero at the PR segment just ahead of the complex."""
    signal = render(plan, RATE, noise=False)
    first, last = int(before * RATE), int(after * RATE)
    beat = np.mean([signal[:, o - first : o + last] for o in onsets(plan, kind)], axis=0)
    return beat - beat[:, first - 2 : first - 1], first


def complex_of(plan, kind=NORMAL):
    beat, first = mean_beat(plan, kind=kind)
    return beat[:, first : first + int(plan.beats.qrs_duration * RATE) + 1]


def measured_qrs_duration(plan, kind=NORMAL, before=0.03):
    beat, first = mean_beat(plan, before=before, after=0.24, kind=kind)
    slope = np.sqrt((np.gradient(beat, axis=1) ** 2).mean(axis=0))
    steep = np.flatnonzero(slope > 0.12 * slope.max())
    return (steep[-1] - steep[0]) / RATE


def st_level(plan):
    beat, first = mean_beat(plan)
    return beat[:, first + int((plan.beats.qrs_duration + 0.04) * RATE)]


def t_height(plan):
    beat, first = mean_beat(plan)
    bumps = plan.beats.normal
    return beat[:, first + int(bumps.centre[bumps.wave == T][0] * RATE)]


def axis_rows(*names):
    return [LEAD[name] for name in names]


def test_limb_leads_obey_einthoven_with_noise(plans):
    for plan in plans[:20]:
        signal = render(plan)
        one, two = signal[LEAD["I"]], signal[LEAD["II"]]
        np.testing.assert_allclose(signal[LEAD["III"]], two - one, atol=1e-5)
        np.testing.assert_allclose(signal[LEAD["aVR"]], -(one + two) / 2, atol=1e-5)
        np.testing.assert_allclose(signal[LEAD["aVL"]], one - two / 2, atol=1e-5)
        np.testing.assert_allclose(signal[LEAD["aVF"]], two - one / 2, atol=1e-5)


def test_signals_are_finite_and_of_plausible_size(plans):
    for plan in plans[:60]:
        signal = render(plan)
        assert signal.shape == (12, 5000) and signal.dtype == np.float32
        assert np.isfinite(signal).all()
        assert 0.2 < np.ptp(signal, axis=1).max() < 12


def test_noise_is_scaled_and_changes_nothing_else(plans):
    for i, plan in enumerate(plans[:10]):
        clean = render(plan, noise=False)
        louder = render(plan_record(1, i, draw_subject(1, i), noise=3.0))
        np.testing.assert_allclose(louder - clean, 3 * (render(plan) - clean), atol=1e-4)
        np.testing.assert_array_equal(render(plan_record(1, i, draw_subject(1, i), noise=0.0)), clean)


@pytest.mark.parametrize("rate", [100, 250, 1000])
def test_other_rates_show_the_same_beats(examples, rate):
    plan = examples["plain"][0]
    at_500, other = render(plan, 500, noise=False), render(plan, rate, noise=False)
    assert other.shape == (12, 10 * rate)
    ours = np.array([np.interp(np.arange(10 * rate) / rate, np.arange(5000) / 500, lead) for lead in at_500])
    for lead in range(12):
        assert np.corrcoef(ours[lead], other[lead])[0, 1] > 0.9


@pytest.mark.parametrize(("code", "low", "high"), [("SR", 60, 100), ("BRADY", 30, 60), ("TACHY", 100, 160)])
def test_rate_of_sinus_rhythms(examples, code, low, high):
    for plan in examples[code]:
        if not plan.findings.labels & {"PVC", "PAC"}:
            assert low < 60 / np.diff(peaks(render(plan, noise=False))).mean() < high


def irregularity(plan):
    intervals = np.diff(peaks(render(plan, noise=False)))
    return intervals.std() / intervals.mean()


def test_fibrillation_is_irregular_and_has_no_p_wave(examples):
    assert all(irregularity(plan) < 0.05 for plan in examples["plain"])
    assert np.median([irregularity(plan) for plan in examples["AFIB"]]) > 0.15
    assert all(irregularity(plan) > 0.05 for plan in examples["AFIB"])
    for plan in examples["AFIB"]:
        assert plan.beats.pr_interval == 0
        assert ATRIAL not in plan.beats.normal.wave


def test_sinus_arrhythmia_is_more_irregular_than_plain(examples):
    assert all(irregularity(plan) > 0.04 for plan in examples["sinus_arrhythmia"])


def test_flutter_waves_are_regular_and_inferior(examples):
    heights = []
    for plan in examples["AFLT"]:
        frequency = plan.findings.rate * plan.findings.conduction / 60
        assert 250 / 60 < frequency < 345 / 60
        multiples = plan.rhythm.interval * frequency
        np.testing.assert_allclose(multiples, np.rint(multiples), atol=1e-6)
        if multiples.min() >= 4:  # between T and the next complex there are only flutter waves
            signal, start = render(plan, noise=False), onsets(plan)[0]
            pause = signal[:, start + int((plan.beats.qt_interval + 0.03) * RATE) :][:, : int(0.2 * RATE)]
            heights.append(np.ptp(pause[axis_rows("II", "III", "aVF", "V1", "V6")], axis=1))
    assert heights
    for height in heights:
        assert height[:3].min() > 0.1
        assert height[:3].max() > 1.5 * height[4]
        assert height[3] > 0.03


def test_first_degree_block_moves_p_ahead(examples):
    def p_peak(plan):
        beat, first = mean_beat(plan, before=0.34)
        strength = np.abs(beat[:, : first - 5] - np.median(beat[:, : first - 5], axis=1, keepdims=True)).sum(axis=0)
        return (np.argmax(strength) - first) / RATE

    slow = [plan for plan in examples["AVB1"] if plan.findings.rate < 80]
    assert slow
    assert all(plan.beats.pr_interval > 0.2 for plan in examples["AVB1"])
    assert all(p_peak(plan) < -0.155 for plan in slow)
    assert all(-0.155 < p_peak(plan) < -0.06 for plan in examples["plain"] if plan.findings.rate < 80)


def test_bundle_branch_blocks_are_wide_and_point_the_right_way(examples):
    for plan in examples["plain"]:
        assert measured_qrs_duration(plan) < 0.11
    for plan in examples["LBBB"]:
        qrs = complex_of(plan)
        assert measured_qrs_duration(plan) > 0.11
        assert qrs[LEAD["V1"]].sum() < 0 < qrs[LEAD["V6"]].sum()
        assert qrs[LEAD["V1"]].max() < 0.15 * -qrs[LEAD["V1"]].min()
        assert t_height(plan)[LEAD["V1"]] > 0 > t_height(plan)[LEAD["V6"]]
    for plan in examples["RBBB"]:
        late = complex_of(plan)[:, int(0.6 * plan.beats.qrs_duration * RATE) :]
        assert measured_qrs_duration(plan) > 0.105
        assert late[LEAD["V1"]].max() > 0.2
        assert late[LEAD["V6"]].min() < -0.1
    assert np.mean([t_height(plan)[LEAD["V1"]] < 0 for plan in examples["RBBB"]]) > 0.8


def test_voltages(examples):
    def limb(plan):
        return np.ptp(complex_of(plan)[:6], axis=1).max()

    def sokolow(plan):
        qrs = complex_of(plan)
        return qrs[axis_rows("V5", "V6")].max() - qrs[LEAD["V1"]].min()

    assert all(limb(plan) < 0.5 for plan in examples["LOWV"])
    assert all(limb(plan) > 0.55 for plan in examples["plain"] + examples["LBBB"] + examples["RBBB"])
    assert all(sokolow(plan) > 3.5 for plan in examples["LVH"])
    assert all(sokolow(plan) < 3.5 for plan in examples["plain"])


def test_st_and_t_changes_lie_in_their_territory(examples):
    raised = {"anterior": ("V2", "V3"), "inferior": ("II", "III", "aVF")}
    for plan in examples["STE"]:
        level, territory = st_level(plan), plan.findings.territory["STE"]
        if "AFIB" not in plan.findings.labels:
            assert level[axis_rows(*raised[territory])].min() > 0.1
            assert territory == "anterior" or level[LEAD["aVL"]] < -0.05
    for plan in examples["STD"]:
        if "AFIB" not in plan.findings.labels:
            assert st_level(plan)[axis_rows("V5")] < -0.07
    inverted = {"anterior": ("V2", "V3"), "lateral": ("I", "V5", "V6"), "inferior": ("III", "aVF")}
    for plan in examples["TINV"]:
        if "AFIB" not in plan.findings.labels:
            assert t_height(plan)[axis_rows(*inverted[plan.findings.territory["TINV"]])].max() < -0.05
    for plan in examples["plain"]:
        assert np.abs(st_level(plan)).max() < 0.1
        assert t_height(plan)[axis_rows("II", "V5")].min() > 0


def test_paced_complexes_follow_a_spike(examples):
    def spike(plan):
        signal = render(plan, noise=False)
        return min(np.abs(np.diff(signal[:, o - 8 : o - 2], axis=1)).max() for o in onsets(plan))

    assert all(spike(plan) > 0.25 for plan in examples["PACED"])
    assert all(spike(plan) < 0.05 for plan in examples["plain"])
    assert all(measured_qrs_duration(plan, before=0.004) > 0.11 for plan in examples["PACED"])


def test_premature_ventricular_complexes_are_early_wide_and_compensated(examples):
    for plan in examples["PVC"]:
        rhythm = plan.rhythm
        places = np.flatnonzero((rhythm.kind == PREMATURE_VENTRICULAR) & (rhythm.onset > 0) & (rhythm.onset < 9.9))
        assert len(places)
        if plan.findings.rhythm in SINUS and len(places) < 4:
            i = places[0]
            around = rhythm.onset[i + 1] - rhythm.onset[i - 1]
            assert around == pytest.approx(rhythm.interval[i] + rhythm.interval[i + 1], rel=0.01)
            assert rhythm.onset[i] - rhythm.onset[i - 1] < 0.8 * rhythm.interval[i]
        if len(onsets(plan, PREMATURE_VENTRICULAR)):
            assert measured_qrs_duration(plan, PREMATURE_VENTRICULAR) > 0.11
        bumps = plan.beats.premature_ventricular
        assert bumps.vector[bumps.wave == T][0] @ bumps.vector[bumps.wave == QRS][0] < 0


def test_premature_atrial_complexes_are_early_and_narrow(examples):
    for plan in examples["PAC"]:
        rhythm = plan.rhythm
        places = np.flatnonzero((rhythm.kind == PREMATURE_ATRIAL) & (rhythm.onset > 0) & (rhythm.onset < 9.9))
        assert len(places)
        assert rhythm.onset[places[0]] - rhythm.onset[places[0] - 1] < 0.85 * rhythm.interval[places[0]]
        early, usual = plan.beats.premature_atrial, plan.beats.normal
        np.testing.assert_array_equal(early.vector[early.wave == QRS], usual.vector[usual.wave == QRS])
        assert not np.allclose(early.vector[early.wave == ATRIAL], usual.vector[usual.wave == ATRIAL])


def test_premature_beats_fit_even_into_slow_rhythms():
    slow = Findings("BRADY", 38.0, frozenset({"BRADY", "PVC", "PAC"}))
    for seed in range(100):
        rhythm = draw_rhythm(np.random.default_rng(seed), slow)
        inside = (rhythm.onset > 0) & (rhythm.onset < 9.5)
        assert {PREMATURE_ATRIAL, PREMATURE_VENTRICULAR} <= set(rhythm.kind[inside])
        assert (np.diff(rhythm.onset) > 0.3).all()
