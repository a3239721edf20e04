"""P waves: where they come from, how long they last, and what of them the leads see."""

from __future__ import annotations

import numpy as np

from preprocess.synthetic_ecg.physiology.bumps import ATRIAL, Bumps
from preprocess.synthetic_ecg.physiology.findings import Findings
from preprocess.synthetic_ecg.physiology.rhythm import ECTOPIC_P, OTHER_P, PACED_P, RETROGRADE_P, SINUS_P, Rhythm
from preprocess.synthetic_ecg.physiology.subjects import Subject
from preprocess.synthetic_ecg.physiology.torso import lead_field

# Centres of the right and the left atrium, cm from the heart's electrical centre, and their vectors, mV.
_PLACES = np.array([[-2.5, -2.0, 0.5], [0.5, -2.5, 3.5]])
_VECTORS = np.array([[0.024, 0.082, -0.045], [0.060, 0.048, 0.045]])
# What other places of origin make of the vectors: low in the atrium, the left atrium, the node, a pacemaker's electrode.
_TURNED = {
    SINUS_P: (1.0, 1.0, 1.0),
    ECTOPIC_P: (0.7, -0.75, 1.0),
    OTHER_P: (-0.5, 0.6, -0.8),
    RETROGRADE_P: (0.15, -1.0, 0.9),
    PACED_P: (1.15, 0.9, 0.9),
}
_LENGTH = {SINUS_P: 1.0, ECTOPIC_P: 0.9, OTHER_P: 1.0, RETROGRADE_P: 0.8, PACED_P: 1.15}


def p_duration(rng: np.random.Generator, findings: Findings, subject: Subject) -> float:
    """Seconds."""
    if "LAO/LAE" in findings.causes:
        return rng.uniform(0.120, 0.142)
    return float(np.clip(rng.normal(0.102, 0.006), 0.086, 0.116))


def draw_p_waves(rng: np.random.Generator, findings: Findings, subject: Subject, duration: float) -> dict[int, Bumps]:
    """Bumps of each kind of P wave, time 0 at its onset."""
    causes = findings.causes
    strength = subject.p_strength * (0.6 if "LVOLT" in causes else 0.35 if "HYPERK" in causes else 1.0)
    right, left, turned, late = 1.0, 1.0, 0.0, 0.64
    if "RAO/RAE" in causes:
        right, strength = rng.uniform(2.0, 2.6) / max(strength, 0.6), max(strength, 0.9)
    if "LAO/LAE" in causes:
        left, turned, late, strength = rng.uniform(1.3, 1.8), 0.5, 0.70, max(strength, 0.9)
    vectors = _VECTORS * strength * np.array([[right], [left]])
    vectors[1, 2] += turned * 0.10
    vectors = vectors * rng.lognormal(0, 0.12, size=(2, 3))
    waves = {}
    for kind, factors in _TURNED.items():
        body = vectors * np.array(factors) @ subject.wave_rotation.T
        leads = np.einsum("klc,kc->kl", _field(subject, 0.0), body)
        swung = np.einsum("klc,kc->kl", _field(subject, 0.4), body) - leads
        length = _LENGTH[kind] * duration
        width = length / (6.0 if late < 0.7 else 6.6)
        centre = np.array([0.35, late]) * length
        leads, swung = np.concatenate([leads, -0.09 * leads.sum(axis=0)[None]]), np.concatenate([swung, np.zeros((1, 8))])
        if "PERI" in causes:
            leads[2] *= 5
        # The atria recover, too: what that does is small, lasts long, and is opposite.
        waves[kind] = Bumps(
            centre=np.append(centre, length + 0.05),
            plateau=np.array([0.0, 0.0, 0.03]),
            before=np.append(np.full(2, width), 0.03),
            after=np.append(np.full(2, width), 0.04),
            leads=leads,
            swung=swung,
            wave=np.array([ATRIAL, ATRIAL, -1]),
        )
    return waves


def _field(subject: Subject, deeper: float) -> np.ndarray:
    places = _PLACES + subject.position + np.array([0.0, deeper, 0.0])
    return lead_field(places, subject.electrodes, subject.limbs)


def draw_atrial_activity(
    rng: np.random.Generator, findings: Findings, subject: Subject, rhythm: Rhythm, rate: int, n_samples: int, padding: float
) -> np.ndarray | None:
    """What fibrillating or fluttering atria add, ``[8, n_samples]`` mV from ``padding`` seconds before the record; None:
    nothing."""
    time = np.arange(n_samples) / rate - padding
    field = lead_field(_PLACES[:1] + subject.position, subject.electrodes, subject.limbs)[0]
    if findings.rhythm == "AFLT":
        return (field @ _flutter(rng, findings, rhythm, time)).astype(np.float32)
    if findings.rhythm == "AFIB" or findings.mode == "VAF":
        return (field @ _fibrillation(rng, time, rate)).astype(np.float32)
    return None


def _fibrillation(rng: np.random.Generator, time: np.ndarray, rate: int) -> np.ndarray:
    """The atria's vector ``[3, T]``: narrow-banded noise around 4 to 8 Hz, sometimes coarse, mostly fine."""
    frequency = np.fft.rfftfreq(len(time), 1 / rate)
    main, spread = rng.uniform(4.5, 7.8), rng.uniform(0.5, 1.3)
    profile = np.exp(-0.5 * ((frequency - main) / spread) ** 2) + 0.25 * np.exp(
        -0.5 * ((frequency - 2 * main) / (2 * spread)) ** 2
    )
    spectrum = (rng.normal(size=(3, len(frequency))) + 1j * rng.normal(size=(3, len(frequency)))) * profile
    waves = np.fft.irfft(spectrum, n=len(time), axis=1)
    waves /= waves.std(axis=1, keepdims=True)
    strength = min(rng.lognormal(np.log(0.024), 0.55), 0.09)
    return strength * np.array([[0.5], [0.9], [1.0]]) * waves


def _flutter(rng: np.random.Generator, findings: Findings, rhythm: Rhythm, time: np.ndarray) -> np.ndarray:
    """The atria's vector ``[3, T]``, locked to the complexes: a saw that falls slowly in II, III and aVF, upright hills in
    V1."""
    frequency = findings.rate * findings.conduction / 60
    phase = 2 * np.pi * (frequency * (time - rhythm.onset[0]) + rng.uniform(0.2, 0.5))
    usual = rng.random() < 0.8
    saw = sum(np.sin(k * phase + 0.25 * k) / k for k in (1, 2, 3)) / 1.5
    hill = np.maximum(np.sin(phase + 2.2), -0.3)
    size = rng.lognormal(np.log(0.14), 0.3)
    down = size * saw if usual else -0.8 * size * saw
    return np.stack([0.1 * down, down, -(0.5 if usual else 0.3) * size * hill])
