"""One synthetic record: what it shows, its intervals, and its signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.synthetic_ecg.bumps import ST, Bumps, T
from preprocess.synthetic_ecg.findings import Findings, draw_findings
from preprocess.synthetic_ecg.leads import twelve_leads
from preprocess.synthetic_ecg.morphology import Beats, draw_beats
from preprocess.synthetic_ecg.noise import NoiseLevels, draw_levels, electrode_noise
from preprocess.synthetic_ecg.rhythm import (
    NORMAL,
    PREMATURE_ATRIAL,
    PREMATURE_VENTRICULAR,
    SECONDS,
    Rhythm,
    draw_rhythm,
)
from preprocess.synthetic_ecg.subjects import RECORD_STREAM, SIGNAL_STREAM, Subject

_LEAD_IN, _TAIL = 0.42, 0.75  # seconds of a beat before and after the onset of its QRS complex
_SPIKE_DELAY, _SPIKE_WIDTH = 0.008, 0.002  # from the end of the pacing spike to the complex, and of the spike, seconds
PACING_LEAD = _SPIKE_DELAY + _SPIKE_WIDTH
"""Seconds from the pacing spike's start to the complex."""


@dataclass(frozen=True)
class Plan:
    """Everything about record ``index`` except its samples; ``render`` makes those."""

    seed: int
    index: int
    subject: Subject
    findings: Findings
    rhythm: Rhythm
    beats: Beats
    noise: NoiseLevels


def plan_record(seed: int, index: int, subject: Subject, noise: float = 1.0) -> Plan:
    """Draw record ``index`` of a cohort: depends on the seed, the index and the subject, on nothing else.

    ``noise`` scales what the electrodes add; it changes neither findings nor beats.
    """
    rng = np.random.default_rng([seed, RECORD_STREAM, index])
    findings = draw_findings(rng, subject.chronic, subject.burden)
    rhythm = draw_rhythm(rng, findings)
    return Plan(seed, index, subject, findings, rhythm, draw_beats(rng, findings, subject), draw_levels(rng, noise))


def render(plan: Plan, rate: int = 500, noise: bool = True) -> np.ndarray:
    """Samples of a planned record, float32 ``[12, 10 * rate]`` in mV, leads in the order of ``MIMIC_LEADS``.

    The limb leads obey Einthoven's and Goldberger's relations up to float rounding.
    """
    rng = np.random.default_rng([plan.seed, SIGNAL_STREAM, plan.index])
    n_samples = int(round(SECONDS * rate))
    lead_in, window = int(_LEAD_IN * rate), int((_LEAD_IN + _TAIL) * rate)
    buffer = np.zeros((8, n_samples + 2 * window), dtype=np.float32)
    rhythm, beats, matrix = plan.rhythm, plan.beats, plan.subject.matrix
    first = np.rint(rhythm.onset * rate).astype(int) - lead_in + window
    # Breathing moves the heart a little; beats differ by a few per cent.
    strength = 1 + 0.03 * np.sin(2 * np.pi * rhythm.breaths_per_second * rhythm.onset + rng.uniform(0, 6.28))
    strength += rng.normal(0, 0.01, size=len(strength))
    stretch = repolarisation_stretch(plan)
    time = np.arange(-lead_in, window - lead_in, dtype=np.float32) / np.float32(rate)
    for kind, bumps in beat_shapes(beats).items():
        chosen = np.flatnonzero((rhythm.kind == kind) & (first >= 0) & (first < n_samples + window))
        if len(chosen):
            shapes = _shapes(bumps, matrix, time, stretch[chosen], strength[chosen])
            for start, shape in zip(first[chosen], shapes):
                buffer[:, start : start + window] += shape
    independent = buffer[:, window : window + n_samples]
    if plan.findings.rhythm == "PACED":
        _add_spikes(rng, independent, plan, rate)
    if plan.findings.rhythm == "AFIB":
        independent += _fibrillation(rng, matrix, rate, n_samples)
    if plan.findings.rhythm == "AFLT":
        independent += _flutter(rng, plan, rate, n_samples)
    if noise:
        independent = independent + electrode_noise(rng, plan.noise, rhythm.breaths_per_second, rate, n_samples)
    return twelve_leads(independent)


def repolarisation_stretch(plan: Plan) -> np.ndarray:
    """By how much ST and T of each beat come later, ``[beats]``: QT follows the interval of its own beat, less than fully."""
    return np.clip(plan.rhythm.interval * plan.findings.rate / 60, 0.7, 1.5) ** 0.2


def beat_shapes(beats: Beats) -> dict[int, Bumps]:
    """Kind of beat → its waves."""
    return {
        NORMAL: beats.normal,
        PREMATURE_VENTRICULAR: beats.premature_ventricular,
        PREMATURE_ATRIAL: beats.premature_atrial,
    }


def _shapes(bumps: Bumps, matrix: np.ndarray, time: np.ndarray, stretch: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Beats ``[B, 8, len(time)]`` in mV."""
    late = (bumps.wave == ST) | (bumps.wave == T)
    factor = np.where(late, stretch[:, None], 1.0).astype(np.float32)
    moved = Bumps(
        bumps.centre.astype(np.float32) * factor,
        bumps.plateau.astype(np.float32) * factor,
        np.broadcast_to(bumps.before.astype(np.float32), factor.shape),
        bumps.after.astype(np.float32) * factor,
        bumps.vector,
        bumps.wave,
    )
    weights = (matrix @ bumps.vector.T).astype(np.float32)
    return strength.astype(np.float32)[:, None, None] * (weights @ moved.values(time))


def _add_spikes(rng: np.random.Generator, independent: np.ndarray, plan: Plan, rate: int) -> None:
    """Add a pulse of 2 ms before each paced complex."""
    vector = np.array([0.5, -0.9, 0.5]) * rng.uniform(0.2, 1.3) + rng.normal(0, 0.05, size=3)
    height = (plan.subject.matrix @ vector).astype(np.float32)[:, None]
    width = max(1, round(_SPIKE_WIDTH * rate))
    for onset in plan.rhythm.onset:
        start = int(np.rint(onset * rate)) - round(_SPIKE_DELAY * rate) - width
        if 0 <= start and start + width <= independent.shape[1]:
            independent[:, start : start + width] += height


def _fibrillation(rng: np.random.Generator, matrix: np.ndarray, rate: int, n_samples: int) -> np.ndarray:
    """Two unsteady waves of 4 to 8 Hz, strongest in V1."""
    time = np.arange(n_samples) / rate
    strength = rng.uniform(0.02, 0.075)
    waves = []
    for _ in range(2):
        swing = rng.uniform(0.8, 2.0) * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * time + rng.uniform(0, 6.28))
        swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.15, 0.7) * time + rng.uniform(0, 6.28))
        waves.append(swell * np.sin(2 * np.pi * rng.uniform(4.5, 7.5) * time + swing + rng.uniform(0, 6.28)))
    vectors = np.array([[-0.3, 0.3, -0.9], [0.2, 0.4, -0.6]]) + rng.normal(0, 0.15, size=(2, 3))
    return (matrix @ (strength * vectors.T @ np.array(waves))).astype(np.float32)


def _flutter(rng: np.random.Generator, plan: Plan, rate: int, n_samples: int) -> np.ndarray:
    """A saw-tooth locked to the complexes: slow fall and steep rise in II, III and aVF, small upright waves in V1."""
    frequency = plan.findings.rate * plan.findings.conduction / 60
    time = np.arange(n_samples) / rate - plan.rhythm.onset[0]
    phase = 2 * np.pi * (frequency * time + rng.uniform(0.2, 0.5))
    tooth = sum(np.sin(k * phase) / k for k in (1, 2, 3, 4)) / 1.6
    vector = np.array([0.02, 0.17, 0.08]) * rng.uniform(0.45, 1.2)
    return (plan.subject.matrix @ vector[:, None] * tooth).astype(np.float32)
