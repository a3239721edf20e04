"""What the signals of the synthetic cohort show, measured on the samples."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np
import pytest
from hearts import plans_of

from cmelt_plugin.data.leads import lead_indices
from preprocess.synthetic_ecg.delineation import amplitudes, delineate, find_complexes
from preprocess.synthetic_ecg.physiology import morphology
from preprocess.synthetic_ecg.physiology.bumps import QRS
from preprocess.synthetic_ecg.physiology.findings import INFARCTS, INJURIES, ISCHAEMIAS
from preprocess.synthetic_ecg.physiology.heart import TERRITORY_LEADS
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.rhythm import (
    ECTOPIC_P,
    NORMAL,
    PACED,
    PREMATURE_ATRIAL,
    PREMATURE_VENTRICULAR,
    SINUS_P,
)
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.physiology.torso import DOWER, ELECTRODES, LIMBS, lead_field
from preprocess.synthetic_ecg.record import plan_record, render

RATE = 500
LEAD = {name: row for row, name in enumerate(MIMIC_LEADS)}
CANONICAL = lead_indices(MIMIC_LEADS)


@pytest.fixture(scope="module")
def plans():
    return [plan_record(1, i, draw_subject(1, i)) for i in range(100)]


@pytest.fixture(scope="module")
def examples():
    """Eight plans of each label, and of "plain": normal sinus rhythm without any finding."""
    found = defaultdict(list)
    for i in range(1400):
        plan = plan_record(3, i, draw_subject(3, i), balanced=True)
        labels = plan.findings.labels
        for key in labels if labels != {"SR", "NORM"} else {"plain"}:
            if len(found[key]) < 8:
                found[key].append(plan)
    return found


def rows(*names):
    return [LEAD[name] for name in names]


def clean(plan):
    return render(plan, RATE, noise=False)


def beat_of(plan):
    """Clean median beat in the order of ``MIMIC_LEADS`` and the sample of its onset, from the plan."""
    signal = clean(plan)
    chosen = (plan.rhythm.kind == NORMAL) & (plan.rhythm.onset > 0.6) & (plan.rhythm.onset < 9.0)
    starts = np.rint(plan.rhythm.onset[chosen] * RATE).astype(int)
    beat = np.median([signal[:, start - 100 : start + 350] for start in starts], axis=0)
    return beat - beat[:, 97:99].mean(axis=1, keepdims=True), 100


def complex_of(plan):
    beat, first = beat_of(plan)
    return beat[:, first : first + int(plan.beats.qrs_duration * RATE) + 1]


def test_an_ordinary_body_has_dowers_leads():
    np.testing.assert_allclose(lead_field(np.zeros((1, 3)), ELECTRODES, DOWER[:LIMBS])[0], DOWER, atol=1e-12)
    near = lead_field(np.array([[0.1, 0.2, -3.0]]), ELECTRODES, DOWER[:LIMBS])[0]
    assert np.linalg.norm(near[3]) > 1.5 * np.linalg.norm(DOWER[3]) and np.linalg.norm(near[7]) < np.linalg.norm(DOWER[7])


def test_limb_leads_obey_einthoven_with_noise(plans):
    for plan in plans[:20]:
        signal = render(plan)
        one, two = signal[LEAD["I"]], signal[LEAD["II"]]
        np.testing.assert_allclose(signal[LEAD["III"]], two - one, atol=1e-5)
        np.testing.assert_allclose(signal[LEAD["aVR"]], -(one + two) / 2, atol=1e-5)
        np.testing.assert_allclose(signal[LEAD["aVL"]], one - two / 2, atol=1e-5)
        np.testing.assert_allclose(signal[LEAD["aVF"]], two - one / 2, atol=1e-5)


def test_signals_are_finite_and_of_plausible_size(plans):
    for plan in plans:
        signal = render(plan)
        assert signal.shape == (12, 5000) and signal.dtype == np.float32
        assert np.isfinite(signal).all()
        assert 0.2 < np.ptp(signal, axis=1).max() < 15


def test_noise_is_scaled_and_changes_nothing_else(plans):
    for i, plan in enumerate(plans[:10]):
        silent = plan_record(1, i, draw_subject(1, i), noise=0.0)
        louder = plan_record(1, i, draw_subject(1, i), noise=3.0)
        assert silent.findings.causes == plan.findings.causes == louder.findings.causes
        np.testing.assert_array_equal(clean(silent), clean(plan))
        quiet, usual, loud = (render(p) for p in (silent, plan, louder))
        np.testing.assert_allclose(loud - quiet, 3 * (usual - quiet), atol=4.5 * plan.device.step)  # each is rounded


def test_devices_filter_what_they_say(plans):
    wander, fine = [], []
    for plan in plans[:40]:
        power = np.abs(np.fft.rfft(render(plan), axis=1)) ** 2
        wander.append((plan.device.high_pass >= 0.5, np.log(power[:, 1:4].mean())))
        fine.append((plan.device.low_pass <= 40, np.log(power[:, 700:1400].mean())))
    for values in (wander, fine):
        assert np.mean([x for filtered, x in values if filtered]) < np.mean([x for filtered, x in values if not filtered])


@pytest.mark.parametrize("rate", [100, 250, 1000])
def test_other_rates_show_the_same_beats(examples, rate):
    for plan in examples["plain"][:4]:
        at_500, other = clean(plan), render(plan, rate, noise=False)
        assert other.shape == (12, 10 * rate)
        ours = np.array([np.interp(np.arange(10 * rate) / rate, np.arange(5000) / 500, lead) for lead in at_500])
        alike = [np.corrcoef(ours[lead], other[lead])[0, 1] for lead in range(12)]
        assert np.median(alike) > 0.95 and min(alike) > 0.8  # a lead that sees little sees its fine detail only at 500 Hz


def test_measured_intervals_are_those_planned(examples):
    errors = []
    for plan in examples["plain"]:
        found = delineate(clean(plan)[CANONICAL])
        m = plan.measured
        errors.append(
            (
                2 * (found.offset - found.onset) - m.qrs,
                2 * (found.onset - found.p_onset) - m.pr,
                2 * (found.t_end - found.onset) - m.qt,
                60 / np.diff(found.complexes / RATE).mean() - m.rate,
            )
        )
    assert (np.abs(np.median(errors, axis=0)) < (20, 25, 40, 2)).all()


def test_measured_amplitudes_are_those_of_the_signal(examples):
    """All labels of waves rest on them."""
    errors = defaultdict(list)
    for plan in examples["plain"]:
        found = delineate(clean(plan)[CANONICAL])
        for name, values in amplitudes(found.beat, found.onset, found.offset, found.t_end).items():
            errors[name].append(np.abs(values - getattr(plan.measured, name)[CANONICAL]))
    for name, values in errors.items():
        assert np.median(values) < 0.025 and np.quantile(values, 0.95) < 0.12, name


def test_first_degree_block_moves_p_ahead():
    for plan in plans_of("1AVB"):
        found = delineate(clean(plan)[CANONICAL])
        assert "1AVB" in plan.findings.labels and 2 * (found.onset - found.p_onset) > 198


@pytest.mark.parametrize(("code", "low", "high"), [("SR", 59, 101), ("SBRAD", 30, 60), ("STACH", 100, 175)])
def test_rate_of_sinus_rhythms(examples, code, low, high):
    checked = 0
    for plan in examples[code]:
        if not plan.findings.labels & {"PVC", "PAC", "2AVB", "3AVB", "BIGU", "TRIGU", "PAUSE"}:
            checked += 1
            assert low < 60 / np.diff(find_complexes(clean(plan)) / RATE).mean() < high
    assert checked


def irregularity(plan):
    intervals = np.diff(find_complexes(clean(plan)))
    return intervals.std() / intervals.mean()


def test_fibrillation_is_irregular_and_flutter_regular(examples):
    fibrillating = [plan for plan in examples["AFIB"] if plan.findings.rhythm == "AFIB"]
    assert np.median([irregularity(plan) for plan in fibrillating]) > 0.12
    assert all(plan.beats.pr_interval == 0 and not len(plan.rhythm.p_onset) for plan in fibrillating)
    assert np.median([irregularity(plan) for plan in examples["plain"]]) < 0.05
    for plan in examples["AFLT"]:
        frequency = plan.findings.rate * plan.findings.conduction / 60
        assert 230 / 60 < frequency < 350 / 60
        multiples = np.diff(plan.rhythm.onset) * frequency
        np.testing.assert_allclose(multiples, np.rint(multiples), atol=1e-6)


def atrial_activity(plan):
    """The signal without complexes."""
    none = {kind: bumps.chosen(np.zeros(len(bumps.wave), dtype=bool)) for kind, bumps in plan.beats.complexes.items()}
    return clean(dataclasses.replace(plan, beats=dataclasses.replace(plan.beats, complexes=none)))


def spectrum(signal):
    """Hz and power of each lead."""
    return np.fft.rfftfreq(signal.shape[1], 1 / RATE), np.abs(np.fft.rfft(signal - signal.mean(axis=1, keepdims=True))) ** 2


def test_flutter_waves_are_regular_and_inferior():
    for conduction in (2, 3, 4):
        for plan in plans_of("AFLT", rhythm="AFLT", rate=292 / conduction, conduction=conduction, count=4):
            waves = atrial_activity(plan)
            hertz, power = spectrum(waves)
            assert np.abs(hertz[power[rows("II", "aVF", "V1")].argmax(axis=1)] - 292 / 60).max() < 0.06
            height = np.ptp(waves, axis=1)
            assert height[rows("II", "III", "aVF")].min() > 0.1 and height[LEAD["V1"]] > 0.03
            assert height[rows("II", "III", "aVF")].min() > 2 * height[rows("I", "V6")].max()


def test_fibrillatory_waves_have_their_band_and_no_one_frequency():
    for plan in plans_of("AFIB", rhythm="AFIB", rate=90.0):
        hertz, power = spectrum(atrial_activity(plan))
        of_v1 = power[LEAD["V1"]]
        assert of_v1[(hertz > 3) & (hertz < 10)].sum() > 0.75 * of_v1.sum() and of_v1.max() < 0.3 * of_v1.sum()


def test_sinus_arrhythmia_is_irregular(examples):
    assert len(examples["SARRH"]) == 8 and all(irregularity(plan) > 0.035 for plan in examples["SARRH"])


def test_atrioventricular_blocks(examples):
    assert all(plan.measured.pr > 200 for plan in examples["1AVB"])
    for plan in examples["2AVB"]:
        assert (plan.rhythm.p_beat < 0).any() and (plan.rhythm.p_beat >= 0).any()
    for plan in examples["2AVB1"]:
        conducted = plan.rhythm.p_beat >= 0
        delays = plan.rhythm.onset[plan.rhythm.p_beat[conducted]] - plan.rhythm.p_onset[conducted]
        assert np.ptp(delays) > 0.02
    for plan in examples["3AVB"]:
        assert (plan.rhythm.p_beat < 0).all() and plan.measured.rate < 60
    for mode, label_of in (("wenckebach", {"2AVB", "2AVB1"}), ("mobitz", {"2AVB", "2AVB2"}), ("2:1", {"2AVB"})):
        for plan in plans_of("2AVB", mode=mode, count=6):
            assert {code for code in plan.findings.labels if code.startswith("2AVB")} == label_of


def test_pauses_end_with_escape_beats_of_either_kind():
    labels = [plan.findings.labels for plan in plans_of("PAUSE", rate=75.0, count=30)]
    assert all(any(code in found for found in labels) for code in ("PAUSE", "JEB", "VEB"))


def test_bundle_branch_blocks_are_wide_and_point_the_right_way(examples):
    for plan in examples["CLBBB"]:
        qrs = complex_of(plan)
        assert plan.measured.qrs >= 120 and qrs[LEAD["V1"]].sum() < 0 < qrs[rows("I", "V6")].sum()
        assert qrs[LEAD["V1"]].max() < 0.3 * -qrs[LEAD["V1"]].min()
    late = []
    for plan in examples["CRBBB"]:
        end = complex_of(plan)[:, int(0.6 * plan.beats.qrs_duration * RATE) :]
        late.append((end[LEAD["V1"]].max() > 0.2, end[LEAD["V6"]].min() < -0.1))
    assert np.mean(late) > 0.85
    assert all(plan.measured.qrs < 112 for plan in examples["plain"])


def test_t_waves_of_blocks_point_away_from_the_end_of_the_complex():
    for code, sign in (("CLBBB", 1), ("CRBBB", -1)):
        t = np.array([plan.measured.t[rows("V1", "V6")] for plan in plans_of(code)])
        assert (sign * t[:, 0] > 0.1).all() and np.mean(sign * t[:, 1] < 0) > 0.85


def test_axes(examples):
    for code, low, high in (("LAFB", -95, -30), ("LPFB", 80, 150), ("LAD", -180, -30), ("RAD", 95, 180)):
        axes = [plan.measured.axis for plan in examples[code]]
        assert np.mean([low <= axis <= high for axis in axes]) > 0.85, (code, axes)
    assert all(-31 <= plan.measured.axis <= 96 for plan in examples["plain"])


def test_voltages(examples):
    def limb(plan):
        return np.ptp(complex_of(plan)[:6], axis=1).max()

    for plan in examples["LVH"]:
        m = plan.measured
        assert m.sokolow >= 3.3 or m.cornell >= (2.6 if plan.subject.sex == "M" else 1.9)
    assert np.mean(["VCLVH" in plan.findings.labels for plan in examples["LVH"]]) > 0.8
    assert all(plan.measured.sokolow < 3.5 and plan.measured.limb > 0.5 for plan in examples["plain"])
    narrow = [
        plan for plan in examples["LVOLT"] if NORMAL in plan.rhythm.kind and plan.findings.rhythm in {"SR", "SBRAD", "STACH"}
    ]
    assert narrow and all(limb(plan) < 0.53 for plan in narrow)
    right = [plan for plan in examples["RVH"] if plan.findings.rhythm in {"SR", "SBRAD", "STACH"}]
    assert np.mean([complex_of(plan)[LEAD["V1"]].max() > 0.5 for plan in right]) > 0.8


@pytest.mark.parametrize("code", INFARCTS)
def test_old_infarcts_have_q_waves_or_lost_r_waves_in_their_leads(code):
    """Behind the heart a Q wave is an R wave in front. In front, poor R progression may be all there is."""
    shown = []
    for plan, healthy in zip(plans_of(code, stages={code: "old"}), plans_of()):
        m, leads = plan.measured, rows(*TERRITORY_LEADS[INFARCTS[code]])
        if code == "PMI":
            shown.append((m.r > 1.05 * healthy.measured.r)[leads].all())
            continue
        q = np.minimum(m.q, m.s * (m.r < 0.05)) < -0.09
        lost = (m.r < 0.2) & (code in {"ASMI", "AMI"})
        shown.append((q | lost)[leads].sum() >= 2)
    assert np.mean(shown) > 0.8


@pytest.mark.parametrize("code", INFARCTS)
def test_st_segments_rise_over_an_acute_infarct_and_fall_opposite(code):
    found = plans_of(code, stages={code: "acute"})
    st = np.array([plan.measured.st60 if code == "PMI" else plan.measured.st for plan in found])
    second = np.sort(st[:, rows(*TERRITORY_LEADS[INFARCTS[code]])], axis=1)[:, -2]
    assert all("STEMI" in plan.findings.labels for plan in found)
    if code == "PMI":
        assert (second < -0.04).all() and np.mean(second < -0.1) > 0.75
    else:
        assert (second > 0.04).all() and np.mean(second > 0.1) > 0.8
    if code == "IMI":
        assert (st[:, LEAD["aVL"]] < 0).all()


def test_injury_below_the_endocardium_lowers_st_and_ischaemia_turns_t_over_in_their_leads():
    for codes, values in ((INJURIES, "st60"), (ISCHAEMIAS, "t")):
        for code, territory in codes.items():
            second = [
                np.sort(getattr(plan.measured, values)[rows(*TERRITORY_LEADS[territory])])[1]
                for plan in plans_of(code, count=8)
            ]
            assert np.mean(np.array(second) < -0.05) > 0.8, code


def test_t_waves(examples):
    for plan in examples["plain"]:
        assert plan.measured.t[rows("I", "II", "V4", "V5", "V6")].min() > 0.02
        assert np.abs(plan.measured.st[rows("I", "II", "V5", "V6")]).max() < 0.1
    for plan in examples["INVT"]:
        assert (plan.measured.t < -0.09).sum() >= 2
    peaked = [plan.measured.t[rows("V2", "V3", "V4")].max() for plan in examples["HYPERK"]]
    assert np.median(peaked) > np.median([plan.measured.t[rows("V2", "V3", "V4")].max() for plan in examples["plain"]])
    assert all(plan.measured.qtc > 440 for plan in examples["LNGQT"])


def test_paced_complexes_follow_a_spike(examples):
    for code in ("VPACE", "DPACE"):
        for plan in examples[code]:
            signal = clean(plan)
            seconds = [second for second, ventricular in plan.rhythm.spikes if ventricular and 0.1 < second < 9.9]
            onsets = plan.rhythm.onset[plan.rhythm.kind == PACED]
            assert seconds and all(np.abs(onsets - second).min() < 0.02 for second in seconds)
            steps = [np.abs(np.diff(signal[:, int(s * RATE) - 3 : int(s * RATE) + 4], axis=1)).max() for s in seconds]
            assert min(steps) > 0.03


def test_premature_ventricular_complexes_are_early_and_wide(examples):
    for plan in examples["PVC"]:
        rhythm = plan.rhythm
        places = np.flatnonzero((rhythm.kind == PREMATURE_VENTRICULAR) & (rhythm.onset > 0) & (rhythm.onset < 9.9))
        assert len(places) and plan.beats.ventricular_duration > 0.12
        for i in places[places > 0]:
            assert rhythm.onset[i] - rhythm.onset[i - 1] < 0.95 * rhythm.interval[i]


def test_pauses_after_ventricular_beats_compensate():
    ratios = []
    for plan in plans_of("PVC", count=20):
        rhythm = plan.rhythm
        for i in np.flatnonzero((rhythm.kind == PREMATURE_VENTRICULAR) & (rhythm.onset > 0) & (rhythm.onset < 8)):
            assert rhythm.onset[i] - rhythm.onset[i - 1] < 0.8 * rhythm.interval[i]
            ratios.append((rhythm.onset[i + 1] - rhythm.onset[i - 1]) / (rhythm.interval[i - 1] + rhythm.interval[i + 1]))
    assert np.mean(np.abs(np.array(ratios) - 1) < 0.06) > 0.85


def test_premature_atrial_complexes_are_early_and_narrow():
    for plan in plans_of("PAC"):
        rhythm, beats = plan.rhythm, plan.beats
        places = np.flatnonzero((rhythm.kind == PREMATURE_ATRIAL) & (rhythm.onset > 0) & (rhythm.onset < 9.9))
        assert len(places) and "PAC" in plan.findings.labels
        assert (rhythm.onset[places] - rhythm.onset[places - 1] < 0.85 * rhythm.interval[places]).all()
        early, usual = (beats.complexes[kind] for kind in (PREMATURE_ATRIAL, NORMAL))
        np.testing.assert_array_equal(early.leads[early.wave == QRS], usual.leads[usual.wave == QRS])
        assert not np.allclose(beats.p_waves[ECTOPIC_P].leads, beats.p_waves[SINUS_P].leads)


def test_premature_beats_fit_even_into_slow_rhythms():
    for plan in plans_of("PVC", "PAC", rhythm="SBRAD", rate=38.0, count=20):
        rhythm = plan.rhythm
        inside = set(rhythm.kind[(rhythm.onset > 0) & (rhythm.onset < 9.9)])
        assert PREMATURE_VENTRICULAR in inside and (np.diff(rhythm.onset) > 0.3).all()


def test_exchanged_electrodes(examples):
    for plan in examples["REVERSAL"]:
        if plan.swapped == "left arm and right arm" and plan.findings.rhythm in {"SR", "SBRAD", "STACH"}:
            right = render(dataclasses.replace(plan, swapped=""), noise=False)
            np.testing.assert_allclose(clean(plan)[LEAD["I"]], -right[LEAD["I"]], atol=1e-6)
            np.testing.assert_allclose(clean(plan)[LEAD["aVR"]], right[LEAD["aVL"]], atol=1e-6)
            np.testing.assert_allclose(clean(plan)[LEAD["V3"]], right[LEAD["V3"]], atol=1e-6)
            return
    raise AssertionError("no such record")


def second_r(plan):
    """mV, the highest point of V1 after its deepest, of a clean beat."""
    v1 = complex_of(plan)[LEAD["V1"]]
    return v1[v1.argmin() :].max()


def test_incomplete_right_bundle_branch_block_has_a_second_r_in_v1():
    found = plans_of("IRBBB", count=40)
    heights = [second_r(plan) for plan in found]
    assert np.mean(np.array(heights) >= 0.1) > 0.95 and 0.1 < np.median(heights) < 0.4
    assert all(plan.measured.qrs < 120 for plan in found)
    assert np.median([second_r(plan) for plan in plans_of(count=40)]) < 0.02


def turned_by(code, monkeypatch):
    """Degrees by which the hearts of 20 subjects with a cause were turned."""
    seen, shown = [], morphology.shown
    monkeypatch.setattr(morphology, "shown", lambda *given: seen.append(shown(*given)) or seen[-1])
    plans_of(code, count=20)
    monkeypatch.undo()
    # Every other one: a plan of the subject is drawn as well.
    relative = [found.turn @ draw_subject(5, i).rotation.T for i, (found, _) in enumerate(seen[::2])]
    return np.degrees([np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)) for turn in relative])


def test_an_axis_turns_the_complex_and_the_heart_only_within_limits(monkeypatch):
    """Territories, ST and T lie where the heart does."""
    ordinary = [plan.measured for plan in plans_of(count=20)]
    for code, low, high in (("LAFB", -85, -30), ("LPFB", 80, 140), ("LAD", -70, -28), ("RAD", 88, 140)):
        degrees = turned_by(code, monkeypatch)
        assert degrees.max() < 45.1 and np.median(degrees) < 25
        found = [plan.measured for plan in plans_of(code, count=20)]
        assert np.mean([low <= m.axis <= high for m in found]) > 0.85, code
        assert np.median([abs(m.t_axis - usual.t_axis) for m, usual in zip(found, ordinary)]) < 25, code
        # The other fascicle is on time: the complex begins as it did.
        if code == "LAFB":
            assert np.mean([m.r[LEAD["III"]] > 0.05 and m.s[LEAD["III"]] < -0.3 for m in found]) >= 0.75


def test_no_chest_lead_is_higher_than_six_millivolts():
    for causes in (["LVH"], ["CLBBB"], ["HVOLT"], ["RVH"], ["CRBBB", "LVH"], ["IRBBB", "LAFB"], ["WPW"]):
        found = [plan.measured for plan in plans_of(*causes, count=40)]
        assert max(m.chest for m in found) < 6.1 and max(m.cornell for m in found) < 6.1, causes
    assert np.median([plan.measured.sokolow for plan in plans_of("LVH", count=40)]) > 3.5
