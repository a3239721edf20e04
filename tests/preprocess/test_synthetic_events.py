"""Where the synthetic cohort says that waves and findings lie, against the samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cmelt_plugin.data.events import EVENTS_FILE, Event, read_events
from preprocess import synthetic
from preprocess.synthetic_ecg.bumps import ATRIAL, QRS, ST, T
from preprocess.synthetic_ecg.events import IN_WAVE, PAUSE, WAVES, record_events
from preprocess.synthetic_ecg.findings import CLASSES, SINUS
from preprocess.synthetic_ecg.record import plan_record, render
from preprocess.synthetic_ecg.rhythm import NORMAL, PREMATURE_ATRIAL, PREMATURE_VENTRICULAR
from preprocess.synthetic_ecg.subjects import draw_cohort, draw_subject

RATE, SAMPLES = 500, 5000
RHYTHMS = SINUS | {"AFIB", "AFLT"}


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
    shapes = {}
    for name in ("normal", "premature_ventricular", "premature_atrial"):
        bumps = getattr(plan.beats, name)
        shapes[name] = dataclasses.replace(bumps, vector=np.where((bumps.wave == wave)[:, None], 0.0, bumps.vector))
    return dataclasses.replace(plan, beats=dataclasses.replace(plan.beats, **shapes))


@pytest.mark.parametrize(("wave", "share"), [(ATRIAL, 0.97), (QRS, 0.97), (ST, 0.6), (T, 0.97)])
def test_a_wave_lies_where_its_events_are(plans, wave, share):
    """What a record loses with a wave, it loses inside the events of that wave; ST runs out into T."""
    chosen = [plan for plan in plans if plan.beats.pr_interval and not {"PACED"} & plan.findings.labels][:12]
    for plan in chosen:
        lost = render(plan, noise=False) - render(without(plan, wave), noise=False)
        energy = (lost.astype(np.float64) ** 2).sum(axis=0)
        mask = inside(record_events(plan), WAVES[wave])
        assert 0.05 < mask.mean() < 0.5
        assert energy[mask].sum() > share * energy.sum(), plan.index


def test_findings_have_events_of_their_class_alone(plans):
    for plan in plans:
        kinds = {event.kind for event in record_events(plan)}
        assert kinds & CLASSES.keys() == plan.findings.labels - RHYTHMS, plan.index
        for code in plan.findings.labels & IN_WAVE.keys() - {"PACED"}:
            assert (inside(record_events(plan), WAVES[IN_WAVE[code]]) >= inside(record_events(plan), code)).all()


def test_premature_beats_and_pauses(plans):
    """An event for each such beat; what follows it up to the next beat is a pause where the interval is long."""
    pauses = 0
    for plan in plans:
        events, rhythm = record_events(plan), plan.rhythm
        for kind, code in ((PREMATURE_VENTRICULAR, "PVC"), (PREMATURE_ATRIAL, "PAC")):
            onsets = rhythm.onset[(rhythm.kind == kind) & (rhythm.onset < 10)] * RATE
            found = [event for event in events if event.kind == code]
            assert len(found) == len(onsets)
            for onset, event in zip(onsets, found):
                assert event.onset - 8 < onset < event.offset
        for pause in (event for event in events if event.kind == PAUSE):
            pauses += 1
            before = np.flatnonzero(rhythm.onset * RATE < pause.onset)[-1]
            assert rhythm.kind[before] != NORMAL
            assert not inside(events, "qrs complex")[pause.onset : pause.offset].any()
            following = rhythm.onset[before + 1] * RATE
            assert pause.offset <= min(following + 8, SAMPLES)
            assert following - rhythm.onset[before] * RATE >= 1.19 * rhythm.interval[before] * RATE
    assert pauses > 10


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
