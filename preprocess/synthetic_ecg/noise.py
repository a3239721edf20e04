"""What electrodes add: baseline wander, muscle activity and the mains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocess.synthetic_ecg.leads import ELECTRODES_TO_INDEPENDENT

ELECTRODES = ELECTRODES_TO_INDEPENDENT.shape[1]


@dataclass(frozen=True)
class NoiseLevels:
    """Standard deviations per electrode, mV."""

    wander: float
    muscle: float
    mains: float

    @property
    def disturbing(self) -> bool:
        """Loud enough that an electrocardiograph would warn of it."""
        return self.muscle > 0.045 or self.wander > 0.25


def draw_levels(rng: np.random.Generator, scale: float = 1.0) -> NoiseLevels:
    """Mostly clean records and a tail of restless ones; ``scale`` multiplies all levels."""
    return NoiseLevels(
        wander=scale * float(min(rng.lognormal(np.log(0.055), 0.70), 0.35)),
        muscle=scale * float(min(rng.lognormal(np.log(0.011), 0.70), 0.070)),
        mains=scale * float(min(rng.lognormal(np.log(0.0015), 0.80), 0.010)),
    )


def electrode_noise(rng: np.random.Generator, levels: NoiseLevels, breath: float, rate: int, n_samples: int) -> np.ndarray:
    """Noise of the independent leads, float32 ``[8, n_samples]`` in mV.

    It is made per electrode, so the limb leads keep Einthoven's relations and neighbouring leads share what an
    electrode does. ``breath`` is the breathing rate in Hz.
    """
    time = np.arange(n_samples, dtype=np.float32) / np.float32(rate)
    frequencies = np.array([rng.uniform(0.05, 0.15), breath, rng.uniform(0.3, 0.5), 60.0], dtype=np.float32)
    phase = np.float32(2 * np.pi) * frequencies[:, None] * time
    waves = np.concatenate([np.sin(phase), np.cos(phase)])
    mains = levels.mains if rate > 120 else 0.0  # above half the sample rate a recorder filters it out
    deviation = np.array([levels.wander, 0.7 * levels.wander, 0.4 * levels.wander, mains])
    slow = rng.normal(0, np.tile(deviation, 2), size=(ELECTRODES, len(waves))).astype(np.float32) @ waves
    muscle = rng.standard_normal((ELECTRODES, n_samples + 1), dtype=np.float32)
    # A difference filter: muscle activity has little power at low frequencies. Its gain is the root of 1 + 0.5².
    muscle = muscle[:, 1:] - np.float32(0.5) * muscle[:, :-1]
    swell = 1 + 0.5 * np.sin(np.float32(2 * np.pi) * (np.float32(rng.uniform(0.05, 0.3)) * time + rng.random()))
    slow += (muscle * np.float32(levels.muscle / 1.118)) * swell.astype(np.float32)
    return ELECTRODES_TO_INDEPENDENT.astype(np.float32) @ slow
