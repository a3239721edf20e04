"""Where each wave of a synthetic record lies, and each stretch that shows a finding.

A kind of event is a label that the stretch shows, or what it is: a wave, or a pause between two beats. Rhythms fill the whole
record and have no events.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cmelt_plugin.data.events import Event
from preprocess.synthetic_ecg.physiology.bumps import ATRIAL, QRS, ST, Bumps, T, U
from preprocess.synthetic_ecg.physiology.findings import INFARCTS, INJURIES, ISCHAEMIAS
from preprocess.synthetic_ecg.physiology.rhythm import (
    ESCAPE,
    JUNCTIONAL,
    NORMAL,
    PACED,
    PREMATURE_ATRIAL,
    PREMATURE_VENTRICULAR,
    SECONDS,
    VENTRICULAR,
)
from preprocess.synthetic_ecg.record import Plan, repolarisation_stretch

WAVES = {ATRIAL: "p wave", QRS: "qrs complex", ST: "st segment", T: "t wave", U: "u wave"}
PAUSE = "pause"
PACING_LEAD = 0.012
"""Seconds from the pacing spike's start to the complex."""
# Label → the wave in which every conducted beat shows it.
IN_WAVE = {
    **dict.fromkeys(("CLBBB", "CRBBB", "ILBBB", "IRBBB", "IVCD", "LAFB", "LPFB", "WPW", "LAD", "RAD"), QRS),
    **dict.fromkeys(("LVH", "RVH", "SEHYP", "VCLVH", "LVOLT", "HVOLT", "QWAVE", "ABQRS", "PRWP", *INFARCTS), QRS),
    **dict.fromkeys(("STE_", "STD_", "STEMI", "NST_", "PERI", "DIG", *INJURIES), ST),
    **dict.fromkeys(("INVT", "LOWT", "TAB_", "NT_", "NDT", "HYPERK", *ISCHAEMIAS), T),
    **dict.fromkeys(("LAO/LAE", "RAO/RAE"), ATRIAL),
    "UW": U,
}
# A bump is taken to begin and end so many standard deviations from its top; the ST segment ends where it is no longer level.
REACH = {ATRIAL: (2.0, 2.0), QRS: (2.0, 2.0), ST: (1.2, 0.0), T: (2.0, 2.0), U: (1.6, 1.6)}
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
    rhythm, labels, beats = plan.rhythm, plan.findings.labels, plan.beats
    stretch = repolarisation_stretch(rhythm)
    edges = {
        kind: {wave: pair for wave in WAVES if (pair := _edges(bumps, wave, stretch)) is not None}
        for kind, bumps in beats.complexes.items()
    }
    atrial = {kind: pair for kind, bumps in beats.p_waves.items() if (pair := _edges(bumps, ATRIAL, np.ones(1))) is not None}
    ahead: dict[int, float] = {}
    for onset, kind, beat in zip(rhythm.p_onset, rhythm.p_kind, rhythm.p_beat):
        start, stop = onset + atrial[kind][:, 0]
        yield WAVES[ATRIAL], start, stop
        for code in sorted(labels & {code for code, wave in IN_WAVE.items() if wave == ATRIAL}):
            yield code, start, stop
        if beat >= 0:
            ahead[int(beat)] = start
        elif "2AVB" in labels:
            yield "2AVB", start, stop
    shown = sorted(labels & {code for code, wave in IN_WAVE.items() if wave != ATRIAL})
    for beat, (onset, kind) in enumerate(zip(rhythm.onset, rhythm.kind)):
        place = {wave: pair[:, beat] + onset for wave, pair in edges[kind].items()}
        for wave, (start, stop) in place.items():
            yield WAVES[wave], start, stop
        if kind in VENTRICULAR:
            code = {PREMATURE_VENTRICULAR: "PVC", PACED: "PACE", ESCAPE: "VEB"}.get(kind, "")
            if code in labels:  # of a beat at the edge of the record they say nothing
                yield code, place[QRS][0] - (PACING_LEAD if code == "PACE" else 0.0), place[T][1]
        else:
            for code in shown:
                if IN_WAVE[code] in place:
                    yield code, *place[IN_WAVE[code]]
            if "LNGQT" in labels:
                yield "LNGQT", place[QRS][0], place[T][1]
        if kind == PREMATURE_ATRIAL and "PAC" in labels:
            yield "PAC", ahead.get(beat, place[QRS][0]), place[QRS][1]
        if kind == JUNCTIONAL and "JEB" in labels:
            yield "JEB", *place[QRS]
        if kind == NORMAL and beat in ahead:
            for code in sorted(labels & {"1AVB", "LPR"}):
                yield code, ahead[beat], place[QRS][0]
        if beat + 1 < len(rhythm.onset) and plan.findings.rhythm not in {"AFIB", "AFLT"}:
            following = ahead.get(beat + 1, rhythm.onset[beat + 1])
            if rhythm.onset[beat + 1] - onset >= LONG * rhythm.interval[beat] and following > place[T][1]:
                yield PAUSE, place[T][1], following


def _edges(bumps: Bumps, wave: int, stretch: np.ndarray) -> np.ndarray | None:
    """Start and end of a wave in each beat of this shape, ``[2, beats]`` seconds from the onset of its complex."""
    chosen = bumps.wave == wave
    if not chosen.any():
        return None
    factor = stretch[:, None] if wave in (ST, T, U) else np.ones((len(stretch), 1))
    start = factor * (bumps.centre - bumps.plateau - REACH[wave][0] * bumps.before)[chosen]
    stop = factor * (bumps.centre + bumps.plateau + REACH[wave][1] * bumps.after)[chosen]
    return np.stack([start.min(axis=1), stop.max(axis=1)])
