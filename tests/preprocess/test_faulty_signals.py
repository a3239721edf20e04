"""Recordings with one fault of amplitude, range, leads or hum: each is refused or the fault is named, and others are not."""

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Recording, Rejected
from preprocess.packing.recording import SignalOptions, to_row
from preprocess.synthetic_ecg.layouts.challenge_records import draw, samples

FAULTS = ("none", "too small", "too large", "offset", "offset of a lead", "inverted", "exchanged", "hum", "spikes")
CODES = {
    "none": set(),
    "too small": {"amplitude-low", "zero", "flat"},
    "too large": {"amplitude-high", "clipped"},
    "offset": {"offset", "clipped"},
    "offset of a lead": {"offset", "clipped", "flat"},
    "inverted": {"lead-relations"},
    "exchanged": {"lead-relations"},
    "hum": {"mains"},
    "spikes": {"clipped"},
}
IN_LIMB_LEADS = np.array([1, 1, 0, -1, 0.5, 0.5])  # a disturbance of leads I and II as the six show it


def damaged(ecg: np.ndarray, fault: str, random: np.random.Generator) -> np.ndarray:
    """``[12, 5000]`` with the fault, of random size from where it matters on."""
    sign = random.choice([-1, 1])
    if fault == "too small":
        return ecg * 10 ** -random.uniform(1.6, 7)
    if fault == "too large":
        return ecg * 10 ** random.uniform(1.2, 7)
    if fault == "offset":
        return ecg + sign * 10 ** random.uniform(0.9, 7)
    lead, other = random.permutation(6)[:2]
    if fault == "offset of a lead":
        ecg[random.integers(12)] += sign * 10 ** random.uniform(0.9, 7)
    elif fault == "inverted":
        ecg[lead] *= -1
    elif fault == "exchanged":
        size = np.sqrt((ecg[:6] ** 2).mean())
        while np.sqrt(((ecg[lead] - ecg[other]) ** 2).mean()) < 0.25 * size:  # too alike for anyone to tell
            lead, other = random.permutation(6)[:2]
        ecg[[lead, other]] = ecg[[other, lead]]
    elif fault == "hum":
        hertz, size = random.choice([50, 60]), random.uniform(0.5, 2) * ecg.std(axis=1).max()
        wave = size * np.sin(2 * np.pi * hertz * np.arange(ecg.shape[1]) / 500 + random.uniform(0, 6))
        ecg += np.outer([*IN_LIMB_LEADS, *random.uniform(0.5, 1, 6)], wave)
    elif fault == "spikes":
        places = random.integers(0, ecg.shape[1], random.integers(1, 50))
        ecg[random.integers(12), places] = sign * 10 ** random.uniform(1.6, 7)
    return ecg


def test_every_fault_is_refused_or_named_and_nothing_else(battery) -> None:
    for attack in battery("faults of amplitude, range, limb leads and hum in a recording", inputs=450, long=45_000):
        fault = FAULTS[attack.index % len(FAULTS)]
        with attack:
            ecg = samples(draw(31, int(attack.random.integers(100_000)))).astype(np.float64)
            recording = Recording(damaged(ecg, fault, attack.random), LEADS, ["mV"] * 12, 500.0)
            try:
                reasons = [*map(str, to_row(recording, SignalOptions()).plausibility.reasons)]
            except Rejected as rejection:
                reasons = [str(rejection)]
            found = {reason.split(":")[0] for reason in reasons}
            if found & CODES[fault]:
                attack.refused("; ".join(reasons))
            else:
                attack.expect(fault == "none" and not found, f"{fault}: {reasons}")
