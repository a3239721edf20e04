"""What every reader gives: a recording in millivolts and what its file says about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

HEAD = 4096
"""Bytes of a file that a format is known by."""


@dataclass(frozen=True)
class Recording:
    """A recording as its file says it is; nothing is repaired, filtered or resampled.

    Attributes:
        signal: float32 ``[leads, samples]``, millivolts; NaN where the file marks a sample as missing.
        sample_rate: Hz, of all leads.
        leads: name of each row: ``I, II, III, aVR, aVL, aVF, V1 … V6`` where it is one of these, else as in the file.
        start: when it began; None where the file does not say.
        sex: ``F`` or ``M``; None where the file does not say or says something else.
        age: years; None where the file does not say.
        device: manufacturer and model, as in the file; empty where it does not say.
        filters: filters that the device had applied, as in the file; empty where it does not say.
        notes: what a reader of the file should know, a sentence each: leads that were computed from others, what was left out.
        doubtful: what the file itself says against the recording, a sentence each.
        samples: of the whole recording, where ``signal`` is the crop of it that was asked for; None = ``signal`` is all of it.
        begins: of a window (:mod:`.windows`), seconds from the beginning of the whole recording.
    """

    signal: np.ndarray
    sample_rate: float
    leads: tuple[str, ...]
    start: datetime | None = None
    sex: str | None = None
    age: float | None = None
    device: str = ""
    filters: str = ""
    notes: tuple[str, ...] = field(default=())
    doubtful: tuple[str, ...] = field(default=())
    samples: int | None = None
    begins: float = 0.0

    def __post_init__(self) -> None:
        if self.signal.ndim != 2 or self.signal.shape[0] != len(self.leads):
            raise ValueError(f"a signal of shape {self.signal.shape} and {len(self.leads)} leads")
        if not self.sample_rate > 0:
            raise ValueError(f"a sample rate of {self.sample_rate} Hz")


def part_of(recording: Recording, start: int, stop: int) -> Recording:
    """The samples from ``start`` on and before ``stop``; the recording itself where these are all."""
    samples = recording.signal.shape[1]
    if (start, stop) == (0, samples):
        return recording
    return replace(recording, signal=recording.signal[:, start:stop].copy(), samples=samples)
