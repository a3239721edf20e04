"""Recordings that a model should not be asked about, made from ordinary ones: each kind in a way that happens.

All of them keep the shape, and zero where the record has no samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.evaluation.uncertainty.disturbances import with_noise, without_leads

NOISE_SNR = 0.0
"""dB: as much noise as signal."""
LOST = 6
"""Leads that are gone, of twelve."""
GAIN = 1000.0
"""Microvolts taken for millivolts."""
RATE = 2
"""A recording of twice the rate taken for one of the usual rate: half as long, everything twice as fast, twice over."""
NON_ECG_RMS = 0.3
"""mV, about that of ECGs."""

Maker = Callable[[Tensor, Sequence[np.random.Generator]], Tensor]


def noisy(ecg: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """White noise of :data:`NOISE_SNR` dB in every lead."""
    drawn = np.stack([generator.standard_normal(ecg.shape[1:], dtype=np.float32) for generator in generators])
    return with_noise(ecg, torch.from_numpy(drawn).to(ecg.device), NOISE_SNR)


def with_lost_leads(ecg: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """:data:`LOST` leads, drawn for each record, at zero."""
    order = np.stack([generator.permutation(len(LEADS)) for generator in generators])
    return without_leads(ecg, torch.from_numpy(order).to(ecg.device), LOST)


def with_swapped_electrodes(ecg: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Right and left arm exchanged: I turned round, II and III exchanged, aVR and aVL exchanged; chest leads as they are."""
    place = [LEADS.index(lead) for lead in ("I", "III", "II", "aVL", "aVR", "aVF", *LEADS[6:])]
    swapped = ecg[:, place].clone()
    swapped[:, 0] = -swapped[:, 0]
    return swapped


def with_shuffled_leads(ecg: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Leads in a random order, drawn for each record, as in a file whose names of columns are wrong."""
    order = torch.from_numpy(np.stack([generator.permutation(len(LEADS)) for generator in generators])).to(ecg.device)
    return ecg.gather(1, order[:, :, None].expand_as(ecg))


def with_wrong_gain(ecg: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """:data:`GAIN` times as large."""
    return ecg * GAIN


def with_wrong_rate(ecg: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Every :data:`RATE`-th sample, twice over: heart rates and waves twice as fast."""
    fast = ecg[:, :, ::RATE]
    return torch.cat([fast] * RATE, dim=2)[:, :, : ecg.shape[2]]


def non_ecg(ecg: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """No heart: in every lead noise whose power falls with the frequency, as of electrodes that hang in the air."""
    samples = ecg.shape[2]
    frequency = np.fft.rfftfreq(samples)
    frequency[0] = np.inf
    drawn = []
    for generator in generators:
        white = np.fft.rfft(generator.standard_normal((len(LEADS), samples)), axis=1)
        pink = np.fft.irfft(white / np.sqrt(frequency), n=samples, axis=1)
        drawn.append(NON_ECG_RMS * pink / pink.std(axis=1, keepdims=True))
    return torch.from_numpy(np.stack(drawn).astype(np.float32)).to(ecg.device)


FOREIGN: dict[str, Maker] = {
    "noise": noisy,
    "lost_leads": with_lost_leads,
    "swapped_electrodes": with_swapped_electrodes,
    "shuffled_leads": with_shuffled_leads,
    "gain_x1000": with_wrong_gain,
    "double_rate": with_wrong_rate,
    "non_ecg": non_ecg,
}


def foreign_recordings(ecg: Tensor, kind: str, seed: int, rows: Sequence[int], n_samples: Tensor | None = None) -> Tensor:
    """Recordings of one kind; what is drawn for a record depends on the seed and its row alone.

    Args:
        ecg: ``[B, 12, T]`` mV.
        kind: one of :data:`FOREIGN`.
        seed: of what is drawn.
        rows: B rows of the records in their split.
        n_samples: ``[B]`` real samples; None: none is padded.
    """
    number = list(FOREIGN).index(kind)
    made = FOREIGN[kind](ecg, [np.random.default_rng([seed, number, row]) for row in rows])
    if n_samples is None:
        return made
    real = torch.arange(ecg.shape[2], device=ecg.device) < n_samples[:, None, None]
    return made * real
