"""Leads that a reader has decoded, as one recording: what must hold for all formats."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from cmelt_plugin.data import standard_leads
from cmelt_plugin.data.readers.contract import check_array
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.refusal import refuse

HIGHEST_RATE = 32_000.0  # Hz; devices that look for pacemaker spikes reach 16,000
RESOLUTIONS = (1e-3, 1e3)  # microvolts a bit
LARGEST = 1e4  # mV; no amplifier of an ECG reaches 10 V
SHORTEST = 1.0  # seconds; less is a beat, not a rhythm
# The pulse that some devices append, of 1 mV in every lead: what ends the last second and how exactly leads agree on it.
_PULSE, _PULSE_END, _AGREEMENT = 0.18, 0.3, 0.02  # s, s, mV

Rows = dict[str, np.ndarray]


def assemble(
    path: str,
    rows: Rows,
    rate: float,
    *,
    start: datetime | None = None,
    sex: str | None = None,
    age: float | None = None,
    device: str = "",
    filters: str = "",
    notes: tuple[str, ...] = (),
    doubtful: tuple[str, ...] = (),
) -> Recording:
    """A recording of ``rows`` (by lead, millivolts), or a refusal.

    Raises:
        DataError: no lead, leads of different lengths, an impossible rate.
        Rejected: more samples than one recording may have.
    """
    if not rows:
        refuse(path, "has no lead")
    check_rate(path, rate)
    lengths = {len(row) for row in rows.values()}
    if len(lengths) > 1:
        refuse(
            path,
            f"its leads have {', '.join(map(str, sorted(lengths)))} samples, so they were not recorded together",
            "export all leads over the same time",
        )
    samples = lengths.pop()
    check_array(path, samples * len(rows))
    values = np.stack(list(rows.values()))
    check_amplitude(path, values)
    signal = values.astype(np.float32)
    pulse = calibration_start(signal, rate)
    if pulse is not None:
        signal = signal[:, :pulse]
        notes += ("The last second, a calibration pulse of 1 mV, was left out.",)
    return Recording(signal, float(rate), tuple(rows), start, sex, age, device, filters, notes, doubtful)


def check_rate(path: str, rate: float) -> None:
    """Refuse a rate that no recorder has.

    Raises:
        DataError: it is none of 1 to :data:`HIGHEST_RATE` Hz.
    """
    if not 1 <= rate <= HIGHEST_RATE:
        refuse(path, f"a sample rate of {rate:g} Hz")


def check_length(path: str, samples: int, rate: float) -> None:
    """Refuse recordings of less than a second.

    Raises:
        DataError: they are shorter than :data:`SHORTEST`.
    """
    if samples < SHORTEST * rate:
        seconds = f"{samples / rate:.3g} s"
        refuse(path, f"{samples} samples, {seconds}, are too short for a rhythm", f"give at least {SHORTEST:g} s")


def check_amplitude(path: str, values: np.ndarray) -> None:
    """Refuse millivolts that no amplifier gives.

    Raises:
        DataError: some are beyond :data:`LARGEST`.
    """
    highest, lowest = (over.reduce(values, axis=None, initial=0) for over in (np.fmax, np.fmin))
    if max(highest, -lowest) > LARGEST:
        refuse(path, f"has samples beyond {LARGEST / 1000:g} V")


def with_limb_leads(recording: Recording) -> Recording:
    """The recording with the limb leads that follow from I and II (:func:`.standard_leads.with_limb_leads`), and a note."""
    signal, leads, computed = standard_leads.with_limb_leads(recording.signal, recording.leads)
    if not computed:
        return recording
    note = f"{', '.join(computed)} {'was' if len(computed) == 1 else 'were'} computed from I and II."
    return replace(recording, signal=signal, leads=leads, notes=(*recording.notes, note))


def calibration_start(signal: np.ndarray, rate: float) -> int | None:
    """Where the last second begins if it ends in a pulse of 1 mV in all leads at once, which no heart can make; else None.

    Args:
        signal: millivolts, ``[leads, samples]``.
        rate: Hz.
    """
    second, end, pulse = round(rate), round(_PULSE_END * rate), round(_PULSE * rate)
    if len(signal) < 3 or signal.shape[1] <= second:
        return None
    ends = signal[:, -end : pulse - end]
    together = np.abs(signal[:, -end:] - signal[:1, -end:]).max() <= _AGREEMENT
    return signal.shape[1] - second if together and np.abs(ends - 1).max() <= _AGREEMENT else None


def resolution(path: str, microvolts: float) -> float:
    """Millivolts of a bit that is said to be ``microvolts``.

    Raises:
        DataError: no device measures so.
    """
    if not RESOLUTIONS[0] <= microvolts <= RESOLUTIONS[1]:
        refuse(path, f"a resolution of {microvolts:g} µV a bit")
    return microvolts / 1000
