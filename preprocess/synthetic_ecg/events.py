"""Where each wave of a synthetic record lies, and each stretch that shows a finding.

A kind of event is a class of ``findings.CLASSES`` that the stretch shows, or what it is: a wave, or the pause after a premature
beat. Rhythms fill the whole record and have no events.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cmelt_plugin.data.events import Event
from preprocess.synthetic_ecg.bumps import ATRIAL, QRS, ST, Bumps, T
from preprocess.synthetic_ecg.record import PACING_LEAD, Plan, beat_shapes, repolarisation_stretch
from preprocess.synthetic_ecg.rhythm import NORMAL, PREMATURE_ATRIAL, PREMATURE_VENTRICULAR, SECONDS

WAVES = {ATRIAL: "p wave", QRS: "qrs complex", ST: "st segment", T: "t wave"}
PAUSE = "pause"
# Class → the wave in which every conducted beat shows it.
IN_WAVE = {"LBBB": QRS, "RBBB": QRS, "LVH": QRS, "LOWV": QRS, "PACED": QRS, "STE": ST, "STD": ST, "TINV": T}
# A bump is taken to begin and end so many standard deviations from its top; of the ST segment the level part counts alone.
REACH = {ATRIAL: 2.0, QRS: 2.0, ST: 0.0, T: 2.0}
LONG = 1.2  # a pause is longer than the rhythm's own interval by this factor, at least


def record_events(plan: Plan, rate: int = 500) -> list[Event]:
    """Events of a planned record in order of their onsets, in samples at ``rate`` Hz, cut to the record. Draws nothing."""
    n_samples = round(SECONDS * rate)
    events = []
    for kind, start, stop in _stretches(plan):
        onset, offset = (min(max(round(edge * rate), 0), n_samples) for edge in (start, stop))
        if onset < offset:
            events.append(Event(kind, onset, offset))
    return sorted(events, key=lambda event: (event.onset, event.offset, event.kind))


def _stretches(plan: Plan) -> Iterator[tuple[str, float, float]]:
    """Kind, start and end in seconds from the start of the record."""
    rhythm, labels = plan.rhythm, plan.findings.labels
    shapes, stretch = beat_shapes(plan.beats), repolarisation_stretch(plan)
    edges = {kind: {wave: _edges(bumps, wave, stretch) for wave in WAVES} for kind, bumps in shapes.items()}
    for beat, (onset, kind) in enumerate(zip(rhythm.onset, rhythm.kind)):
        place = {wave: pair[:, beat] + onset for wave, pair in edges[kind].items() if pair is not None}
        for wave, (start, stop) in place.items():
            yield WAVES[wave], start, stop
        if kind == PREMATURE_VENTRICULAR:
            yield "PVC", place[QRS][0], place[T][1]
        else:
            for code in sorted(labels & IN_WAVE.keys()):
                start, stop = place[IN_WAVE[code]]
                yield code, start - (PACING_LEAD if code == "PACED" else 0.0), stop
        if kind == PREMATURE_ATRIAL:
            yield "PAC", place[ATRIAL][0], place[QRS][1]
        if kind == NORMAL and "AVB1" in labels:
            yield "AVB1", place[ATRIAL][0], place[QRS][0]
        if kind != NORMAL and beat + 1 < len(rhythm.onset):
            following = [pair[0, beat + 1] for pair in edges[rhythm.kind[beat + 1]].values() if pair is not None]
            end = rhythm.onset[beat + 1] + min(following)
            if rhythm.onset[beat + 1] - onset >= LONG * rhythm.interval[beat] and end > place[T][1]:
                yield PAUSE, place[T][1], end


def _edges(bumps: Bumps, wave: int, stretch: np.ndarray) -> np.ndarray | None:
    """Start and end of a wave in each beat of this shape, ``[2, beats]`` seconds from the onset of its complex."""
    chosen = bumps.wave == wave
    if not chosen.any():
        return None
    factor = stretch[:, None] if wave in (ST, T) else np.ones((len(stretch), 1))
    start = factor * (bumps.centre - bumps.plateau)[chosen] - REACH[wave] * bumps.before[chosen]
    stop = factor * (bumps.centre + bumps.plateau + REACH[wave] * bumps.after)[chosen]
    return np.stack([start.min(axis=1), stop.max(axis=1)])
