"""What electrodes and the electrocardiograph add and take: wander, muscle, mains, loose contacts; filters and steps.

Everything is made in the frequency domain, per electrode, so the limb leads keep Einthoven's relations and neighbouring leads
share what an electrode does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from preprocess.synthetic_ecg.physiology.leads import ELECTRODES_TO_INDEPENDENT

ELECTRODES = ELECTRODES_TO_INDEPENDENT.shape[1]
_UNREST = np.repeat([-0.35, 0.05], [3, 6])  # logarithms; electrodes of the chest move more than those of the limbs
_HIGH_PASS = ((0.05, 0.45), (0.15, 0.15), (0.5, 0.30), (0.67, 0.10))  # Hz and shares
_LOW_PASS = ((150.0, 0.42), (100.0, 0.13), (40.0, 0.12), (250.0, 0.33))
_STEPS = ((0.001, 0.35), (0.00244, 0.15), (0.00488, 0.30), (0.005, 0.20))  # mV


@dataclass(frozen=True)
class Device:
    """An electrocardiograph: corner frequencies in Hz (``notch`` 0 = none), mV per step, and whether its filters keep the
    phase."""

    high_pass: float
    low_pass: float
    notch: float
    step: float
    keeps_phase: bool


@dataclass(frozen=True)
class NoiseLevels:
    """Standard deviations per electrode, mV; ``bursts`` and ``pops`` are disturbances of (electrode, second, mV)."""

    wander: float
    muscle: float
    mains: float
    white: float
    mains_hz: float
    bursts: tuple
    pops: tuple
    uneven: np.ndarray  # [9], some electrodes are worse than others

    @property
    def disturbing(self) -> bool:
        """Loud enough that an electrocardiograph would warn of it."""
        worst = float(self.uneven.max())
        return worst * self.muscle > 0.07 or worst * self.wander > 0.45 or bool(self.bursts or self.pops)


def draw_device(rng: np.random.Generator) -> Device:
    """One of the devices that hospitals have."""

    def choose(options: tuple) -> float:
        shares = np.cumsum([share for _, share in options])
        return options[min(int(np.searchsorted(shares, rng.random())), len(options) - 1)][0]

    notch = float(rng.choice([0.0, 50.0, 60.0], p=[0.70, 0.2, 0.10]))
    return Device(choose(_HIGH_PASS), choose(_LOW_PASS), notch, choose(_STEPS), bool(rng.random() < 0.75))


def draw_levels(rng: np.random.Generator, scale: float = 1.0) -> NoiseLevels:
    """Mostly clean records and a tail of restless ones; ``scale`` multiplies all levels."""
    wander = scale * float(min(rng.lognormal(np.log(0.072), 0.75), 0.4))
    muscle = scale * float(min(rng.lognormal(np.log(0.0026), 1.15), 0.08))
    mains = scale * float(min(rng.lognormal(np.log(0.0010), 1.1), 0.025))
    bursts: list[tuple[int, float, float]] = []
    pops: list[tuple[int, float, float]] = []
    for wanted, chance, sizes in ((bursts, 0.045, (0.1, 0.5)), (pops, 0.03, (0.2, 1.2))):
        happens, count = rng.random() < chance, 1 + int(rng.integers(2))
        for _ in range(count):
            event = (int(rng.integers(ELECTRODES)), float(rng.uniform(0.5, 9.5)), scale * float(rng.uniform(*sizes)))
            if happens and scale:
                wanted.append(event)
    white = scale * float(rng.lognormal(np.log(0.0004), 0.8))
    hertz = float(rng.choice([50.0, 60.0], p=[0.7, 0.3])) * (1 + rng.normal(0, 0.0004))
    return NoiseLevels(wander, muscle, mains, white, hertz, tuple(bursts), tuple(pops), rng.lognormal(_UNREST, 0.5))


def electrode_noise(rng: np.random.Generator, levels: NoiseLevels, breath: float, rate: int, n_samples: int) -> np.ndarray:
    """Noise of the independent leads, float32 ``[8, n_samples]`` in mV; ``breath`` is the breathing rate in Hz."""
    frequency = fft.rfftfreq(n_samples, 1 / rate).astype(np.float32)
    frequency[0] = frequency[1]
    # Skin and electrodes drift: power falls with the square of the frequency and faster above 1 Hz; breathing adds a hill.
    slow = 1 / (frequency * (1 + frequency**1.5)) + 6 * np.exp(-0.5 * ((frequency - breath) / 0.03) ** 2)
    slow[frequency > 20] = 0
    # Muscle: a broad hill around 60 Hz.
    muscle = frequency**0.5 / (1 + (frequency / 55) ** 1.6)
    profiles = np.stack([_unit(slow), _unit(muscle)])
    spectrum = rng.standard_normal((2, ELECTRODES, len(frequency), 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum *= profiles[:, None] * np.float32(n_samples / 2)
    waves = fft.irfft(spectrum, n=n_samples, axis=-1)
    time = np.arange(n_samples, dtype=np.float32) / np.float32(rate)
    swell = np.exp(1.2 * np.sin(np.float32(2 * np.pi * rng.uniform(0.05, 0.3)) * time + np.float32(rng.uniform(0, 6.28))))
    uneven = levels.uneven[:, None].astype(np.float32)
    noise = np.float32(levels.wander) * waves[0] * uneven + np.float32(levels.muscle) * waves[1] * uneven * swell
    if levels.white:
        noise += np.float32(levels.white) * rng.standard_normal(noise.shape, dtype=np.float32)
    if levels.mains and rate > 2 * levels.mains_hz:
        phase = np.float32(2 * np.pi * levels.mains_hz) * time
        gains = rng.normal(0, levels.mains, size=(ELECTRODES, 2)).astype(np.float32)
        noise += gains @ np.stack([np.sin(phase), np.cos(phase)])
    for electrode, second, size in levels.bursts:
        width = rng.uniform(0.15, 0.6)
        envelope = np.exp(-0.5 * ((time - second) / width) ** 2)
        noise[electrode] += size * envelope * np.sin(2 * np.pi * rng.uniform(1.5, 7) * time + 0.8 * waves[0, electrode])
    for electrode, second, size in levels.pops:
        after = time - np.float32(second)
        sign = rng.choice([-1, 1])
        fading = np.exp(-np.maximum(after, 0) / rng.uniform(0.08, 0.8))
        noise[electrode] += np.where(after > 0, sign * size * fading, 0)
    return ELECTRODES_TO_INDEPENDENT.astype(np.float32) @ noise


def _unit(profile: np.ndarray) -> np.ndarray:
    """Of a spectrum with these amplitudes the standard deviation in time becomes 1."""
    return (profile / np.sqrt((profile**2).sum())).astype(np.float32)


def recorded(device: Device, independent: np.ndarray, rate: int) -> np.ndarray:
    """What a device makes of the independent leads, ``[8, T]`` mV: filtered, not yet in its steps."""
    n_samples = independent.shape[1]
    frequency = fft.rfftfreq(n_samples, 1 / rate)
    ratio = 1j * frequency / device.high_pass
    gain = ratio / (1 + ratio)
    low = 1j * frequency / device.low_pass
    gain = gain / (1 + np.sqrt(2) * low + low**2)
    if device.keeps_phase:
        gain = np.abs(gain)
    if device.notch:
        gain = gain * (1 - np.exp(-0.5 * ((frequency - device.notch) / 1.2) ** 2))
    return fft.irfft(fft.rfft(independent, axis=1) * gain.astype(np.complex64), n=n_samples, axis=1)


def in_steps(device: Device, twelve: np.ndarray) -> np.ndarray:
    """Rounded to the steps of the device."""
    return np.rint(twelve / np.float32(device.step)) * np.float32(device.step)
