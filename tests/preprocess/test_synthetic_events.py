"""Where the synthetic cohort says that waves and findings lie, against the samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hearts import plans_of

from cmelt_plugin.data.events import EVENTS_FILE, Event, read_events
from preprocess import synthetic
from preprocess.synthetic_ecg.events import IN_WAVE, PAUSE, WAVES, record_events
from preprocess.synthetic_ecg.physiology.bumps import ATRIAL, QRS, ST, T
from preprocess.synthetic_ecg.physiology.rhythm import NORMAL, PREMATURE_ATRIAL, PREMATURE_VENTRICULAR
from preprocess.synthetic_ecg.physiology.subjects import draw_cohort, draw_subject
from preprocess.synthetic_ecg.record import plan_record, render
from preprocess.synthetic_ecg.texts.classes import classes

RATE, SAMPLES = 500, 5000


@pytest.fixture(scope="module")
def plans():
    return [plan_record(1, i, draw_subject(1, i)) for i in range(300)]


def inside(events, kind):
    mask = np.zeros(SAMPLES, dtype=bool)
    for event in events:
        mask[event.onset : event.offset] |= event.kind == kind
    return mask


def without(plan, wave):
    """The plan whose beats lack a wave."""
    complexes = {kind: bumps.without(wave) for kind, bumps in plan.beats.complexes.items()}
    p_waves = {kind: bumps.without(wave) for kind, bumps in plan.beats.p_waves.items()}
    return dataclasses.replace(plan, beats=dataclasses.replace(plan.beats, complexes=complexes, p_waves=p_waves))


@pytest.mark.parametrize(("wave", "share"), [(ATRIAL, 0.97), (QRS, 0.97), (ST, 0.5), (T, 0.95)])
def test_a_wave_lies_where_its_events_are(plans, wave, share):
    """What a record loses with a wave, it loses inside the events of that wave; ST runs out into T."""
    chosen = [plan for plan in plans if "NORM" in plan.findings.labels][:12]
    for plan in chosen:
        lost = render(plan, noise=False) - render(without(plan, wave), noise=False)
        energy = (lost.astype(np.float64) ** 2).sum(axis=0)
        mask = inside(record_events(plan), WAVES[wave])
        assert 0.05 < mask.mean() < 0.6
        assert energy[mask].sum() > share * energy.sum(), plan.index


def test_findings_have_events_of_their_class_alone(plans):
    for plan in plans:
        events = record_events(plan)
        kinds, labels = {event.kind for event in events}, plan.findings.labels
        assert kinds & classes().keys() <= labels, plan.index
        narrow = NORMAL in plan.rhythm.kind[(plan.rhythm.onset > 0) & (plan.rhythm.onset < 9)]
        wanted = {code for code in labels & IN_WAVE.keys() if IN_WAVE[code] in (QRS, ST, T)}
        assert not narrow or wanted <= kinds, plan.index
        for code in wanted & kinds:
            assert (inside(events, WAVES[IN_WAVE[code]]) >= inside(events, code)).all()


def test_premature_beats_and_pauses(plans):
    """An event for each such beat; what follows a beat up to the next is a pause where the interval is long."""
    pauses = early = 0
    for plan in plans:
        events, rhythm = record_events(plan), plan.rhythm
        for kind, code in ((PREMATURE_VENTRICULAR, "PVC"), (PREMATURE_ATRIAL, "PAC")):
            onsets = rhythm.onset[(rhythm.kind == kind) & (rhythm.onset > 0.3) & (rhythm.onset < 9.8)] * RATE
            found = [event for event in events if event.kind == code]
            early += len(onsets)
            assert all(sum(event.onset - 12 < onset < event.offset for event in found) == 1 for onset in onsets)
            near = (rhythm.kind == kind) & (rhythm.onset > -0.6) & (rhythm.onset < 10)
            assert len(found) <= near.sum()
        for pause in (event for event in events if event.kind == PAUSE):
            pauses += 1
            assert not inside(events, "qrs complex")[pause.onset : pause.offset - 8].any()
            before = np.flatnonzero(rhythm.onset * RATE < pause.onset)[-1]
            assert rhythm.onset[before + 1] - rhythm.onset[before] >= 1.19 * rhythm.interval[before]
    assert pauses > 10 and early > 10


def test_a_beat_at_the_edge_of_the_record_has_no_event_without_its_label(plans):
    plan = next(plan for plan in plans if "PVC" in plan.findings.labels)
    bare = dataclasses.replace(plan, findings=dataclasses.replace(plan.findings, labels=plan.findings.labels - {"PVC"}))
    kinds = ({event.kind for event in record_events(one)} for one in (plan, bare))
    assert next(kinds) - next(kinds) == {"PVC"}


def test_blocked_and_slowly_conducted_waves_have_events():
    for plan in plans_of("1AVB"):
        events = [event for event in record_events(plan) if event.kind == "1AVB"]
        assert len(events) > 5
        assert all(event.offset - event.onset > 90 for event in events if 0 < event.onset and event.offset < SAMPLES)
    for mode in ("wenckebach", "mobitz", "2:1"):
        for plan in plans_of("2AVB", mode=mode, count=4):
            blocked = plan.rhythm.p_onset[plan.rhythm.p_beat < 0]
            events = [event for event in record_events(plan) if event.kind == "2AVB"]
            assert len(events) == ((blocked > -0.08) & (blocked < 9.99)).sum() > 0


def test_events_lie_in_the_record_and_follow_its_rate(plans):
    for plan in plans[:40]:
        events, fast = record_events(plan), record_events(plan, 1000)
        assert events == sorted(events, key=lambda event: event.onset)
        for event in events:
            assert 0 <= event.onset < event.offset <= SAMPLES and isinstance(event, Event)
        near = {
            (event.kind, place) for event in fast for place in (event.onset // 2 - 1, event.onset // 2, event.onset // 2 + 1)
        }
        assert {(event.kind, event.onset) for event in events} <= near


def test_the_command_writes_them_beside_the_cohort(tmp_path):
    target = tmp_path / "cohort"
    assert synthetic.main(["--records", "6", "--subjects", "3", "--seed", "7", "--rate", "250", "--dest", str(target)]) == 0
    cohort = draw_cohort(7, 6, 3)
    ids = [str(study) for study in cohort.study_id]
    events = read_events(target / EVENTS_FILE, ids[:5], 500)
    assert set(events) == set(ids[:5])
    for index, record in enumerate(ids[:5]):
        expected: dict[str, list] = {}
        for event in record_events(plan_record(7, index, draw_subject(7, int(cohort.subject[index]))), 250):
            expected.setdefault(event.kind, []).append((2.0 * event.onset, 2.0 * event.offset))
        assert events[record] == expected
    assert EVENTS_FILE in (target / "README.txt").read_text()
