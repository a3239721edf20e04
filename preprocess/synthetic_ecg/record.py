"""One synthetic record: what it shows, its intervals, and its signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft

from preprocess.synthetic_ecg.labels import Measured, label, measure
from preprocess.synthetic_ecg.noise import Device, NoiseLevels, draw_device, draw_levels, electrode_noise, in_steps, recorded
from preprocess.synthetic_ecg.physiology.atria import draw_atrial_activity
from preprocess.synthetic_ecg.physiology.bumps import QRS, Bumps
from preprocess.synthetic_ecg.physiology.findings import Findings, draw_findings
from preprocess.synthetic_ecg.physiology.leads import twelve_leads
from preprocess.synthetic_ecg.physiology.morphology import Beats, draw_beats, draw_intervals
from preprocess.synthetic_ecg.physiology.rhythm import SECONDS, Rhythm, draw_rhythm
from preprocess.synthetic_ecg.physiology.subjects import RECORD_STREAM, SIGNAL_STREAM, Subject

PADDING = 1.0  # seconds on either side that filters need
_LEAD_IN, _TAIL = 0.06, 0.94  # seconds of a beat before and after the onset of its complex
_P_LEAD_IN, _P_TAIL = 0.04, 0.36
_SPIKE_WIDTH = 0.002  # seconds
_SWAPPED = {  # exchanged electrodes: leads I and II from leads I and II
    "left arm and right arm": ((-1.0, 0.0), (-1.0, 1.0)),
    "left arm and left leg": ((0.0, 1.0), (1.0, 0.0)),
    "right arm and left leg": ((1.0, -1.0), (0.0, -1.0)),
}


@dataclass(frozen=True)
class Plan:
    """Everything about record ``index`` except its samples; ``render`` makes those."""

    seed: int
    index: int
    subject: Subject
    findings: Findings
    rhythm: Rhythm
    beats: Beats
    measured: Measured
    noise: NoiseLevels
    device: Device
    swapped: str = ""


def plan_record(seed: int, index: int, subject: Subject, noise: float = 1.0, balanced: bool = False) -> Plan:
    """Draw record ``index`` of a cohort: depends on the seed, the index and the subject, on nothing else.

    ``noise`` scales what the electrodes add; it changes neither findings nor beats. ``balanced``: each cause equally often.
    """
    rng = np.random.default_rng([seed, RECORD_STREAM, index])
    findings = draw_findings(rng, subject.chronic, subject.burden, subject.rate, balanced)
    intervals = draw_intervals(rng, findings, subject)
    rhythm = draw_rhythm(rng, findings, subject, intervals)
    beats = draw_beats(rng, findings, subject, rhythm, intervals)
    swaps = list(_SWAPPED)
    swapped = swaps[int(rng.choice(3, p=[0.7, 0.15, 0.15]))] if "REVERSAL" in findings.causes else ""
    levels = draw_levels(rng, noise)
    device = draw_device(rng)
    measured = measure(findings, rhythm, beats)
    findings = replace(findings, labels=label(findings, rhythm, beats, measured, levels.disturbing, subject))
    return Plan(seed, index, subject, findings, rhythm, beats, measured, levels, device, swapped)


def render(plan: Plan, rate: int = 500, noise: bool = True) -> np.ndarray:
    """Samples of a planned record, float32 ``[12, 10 * rate]`` in mV, leads in the order of ``MIMIC_LEADS``.

    Without ``noise`` it is what an ideal device at still electrodes would record. The limb leads obey Einthoven's and
    Goldberger's relations up to float rounding.
    """
    rng = np.random.default_rng([plan.seed, SIGNAL_STREAM, plan.index])
    n_samples, pad = round(SECONDS * rate), round(PADDING * rate)
    buffer = np.zeros((8, n_samples + 2 * pad), dtype=np.float32)
    rhythm, beats = plan.rhythm, plan.beats
    phase = rng.uniform(0, 6.28)
    _add_complexes(rng, buffer, plan, rate, phase)
    for kind, bumps in beats.p_waves.items():
        onset = rhythm.p_onset[rhythm.p_kind == kind]
        swing = _swing(rhythm, onset, phase)
        weights = bumps.leads.T + swing[:, None, None] * bumps.swung.T
        weights = weights * rng.lognormal(0, 0.04, size=(len(onset), 1, 1))
        _add(buffer, onset, weights, bumps.values, _P_LEAD_IN, _P_TAIL, rate)
    _add_spikes(rng, buffer, plan, rate)
    activity = draw_atrial_activity(rng, plan.findings, plan.subject, rhythm, rate, buffer.shape[1], PADDING)
    if activity is not None:
        buffer += activity
    if noise:
        # One length for fast transforms, whatever the rate.
        longer = fft.next_fast_len(buffer.shape[1], real=True)
        buffer = np.pad(buffer, ((0, 0), (0, longer - buffer.shape[1])))
        buffer += electrode_noise(rng, plan.noise, rhythm.breaths_per_second, rate, longer)
        buffer = recorded(plan.device, buffer, rate)
    independent = buffer[:, pad : pad + n_samples]
    if plan.swapped:
        independent = independent.copy()
        independent[:2] = np.array(_SWAPPED[plan.swapped], dtype=np.float32) @ independent[:2]
    return twelve_leads(in_steps(plan.device, independent) if noise else independent)


def repolarisation_stretch(rhythm: Rhythm) -> np.ndarray:
    """By how much ST, T and U of each beat come later, ``[beats]``: QT follows the interval of its own beat, less than
    fully."""
    if len(rhythm.onset) < 2:
        return np.ones(len(rhythm.onset))
    before = np.diff(rhythm.onset, prepend=rhythm.onset[0] - rhythm.interval[0])
    own = 0.35 * before + 0.65 * rhythm.interval
    return np.clip(own / np.median(rhythm.interval), 0.6, 1.5) ** 0.25


def _swing(rhythm: Rhythm, time: np.ndarray, phase: float) -> np.ndarray:
    """How far breathing has lowered the heart, −1 to 1."""
    return np.sin(2 * np.pi * rhythm.breaths_per_second * time + phase).astype(np.float32)


def _add_complexes(rng: np.random.Generator, buffer: np.ndarray, plan: Plan, rate: int, phase: float) -> None:
    rhythm = plan.rhythm
    stretch = repolarisation_stretch(rhythm).astype(np.float32)
    swing = _swing(rhythm, rhythm.onset, phase)
    strength = rng.normal(1, 0.018, size=len(swing)).astype(np.float32)
    height = rng.normal(1, 0.013, size=len(swing)).astype(np.float32)  # of T, from beat to beat
    groups: dict[int, tuple[Bumps, list[int]]] = {}
    for kind, bumps in plan.beats.complexes.items():
        groups.setdefault(id(bumps), (bumps, []))[1].append(kind)
    for bumps, kinds in groups.values():
        chosen = np.flatnonzero(np.isin(rhythm.kind, kinds))
        if not len(chosen):
            continue
        fixed = bumps.wave == QRS
        for part, factor in ((bumps.chosen(fixed), None), (bumps.chosen(~fixed), stretch[chosen])):
            weights = part.leads.T.astype(np.float32) + swing[chosen, None, None] * part.swung.T.astype(np.float32)
            weights = weights * (strength if factor is None else strength * height)[chosen, None, None]
            _add(
                buffer,
                rhythm.onset[chosen],
                weights,
                part.values,
                _LEAD_IN,
                _TAIL if factor is not None else 0.30,
                rate,
                factor,
            )


def _add(
    buffer: np.ndarray,
    onset: np.ndarray,
    weights: np.ndarray,
    values: Callable[..., np.ndarray],
    before: float,
    after: float,
    rate: int,
    stretch: np.ndarray | None = None,
) -> None:
    """Add beats: ``weights`` ``[B, 8, K]`` of components, at ``onset`` seconds from the start of the record."""
    first = np.floor((onset - before + PADDING) * rate).astype(int)
    window = round((before + after) * rate)
    whole = (first >= 0) & (first + window <= buffer.shape[1])
    if not whole.any():
        return
    first, weights = first[whole], weights[whole].astype(np.float32)
    # Beats begin between two samples.
    late = (first / rate - PADDING + before - onset[whole]).astype(np.float32)
    time = np.arange(window, dtype=np.float32) / np.float32(rate) - np.float32(before)
    if stretch is None:
        # The same components at each beat: only the fraction of a sample differs, which a straight line between two samples
        # mends.
        shapes = values(time).astype(np.float32)
        slope = np.gradient(shapes, axis=-1) * np.float32(rate)
        beats = weights @ shapes + late[:, None, None] * (weights @ slope)
    else:
        beats = weights @ values((time + late[:, None])[:, None], stretch[whole][:, None]).astype(np.float32)
    for start, beat in zip(first, beats):
        buffer[:, start : start + window] += beat


def _add_spikes(rng: np.random.Generator, buffer: np.ndarray, plan: Plan, rate: int) -> None:
    """A pulse of 2 ms before each paced wave; of two electrodes close together a small one."""
    size = rng.uniform(0.5, 2.2) if rng.random() < 0.5 else rng.uniform(0.10, 0.35)
    ventricular = np.array([0.35, -0.8, 0.45]) * size + rng.normal(0, 0.05, size=3)
    atrial = np.array([0.3, 0.6, -0.1]) * size * 0.7
    width = max(1, round(_SPIKE_WIDTH * rate))
    dipole = np.concatenate([plan.subject.limbs, plan.subject.electrodes / 9])
    for second, of_ventricle in plan.rhythm.spikes:
        start = round((second + PADDING) * rate)
        if 0 <= start and start + width <= buffer.shape[1]:
            buffer[:, start : start + width] += (dipole @ (ventricular if of_ventricle else atrial)).astype(np.float32)[:, None]
