"""The one way from a recording to leads in millivolts: lead order, unit, crop and sample rate, in training and in serving.

Packing (:mod:`preprocess.packing.recording`) rounds the result to the store's integers; serving
(:mod:`cmelt_plugin.data.prepared_ecg`) gives it to a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.leads import LEADS, LeadError, lead_indices, lead_keep_mask
from cmelt_plugin.data.readers.contract import MILLIVOLTS, Crop, Recording, Rejected
from cmelt_plugin.data.resampling import RATES, resample
from cmelt_plugin.data.signal_contract import STORE_SIGNALS, SignalContract


class CalibratedECG(NamedTuple):
    """The part of a recording that is used, in the contract's lead order.

    Attributes:
        ecg: float ``[leads, samples]``, mV, at the recording's own rate; leads it lacks are zero.
        rate: Hz.
        given: bool ``[leads]``, the leads the recording has.
    """

    ecg: np.ndarray
    rate: float
    given: np.ndarray


def calibrate(
    recording: Recording,
    crop: str = "start",
    min_seconds: float = 0.0,
    required: Sequence[str] = LEADS,
    contract: SignalContract = STORE_SIGNALS,
) -> CalibratedECG:
    """Order the leads, crop, convert to mV, and refuse what is no signal.

    Args:
        recording: as a reader returns it.
        crop: which part of a recording that is too long is used: ``start`` or ``centre``.
        min_seconds: shorter recordings are refused.
        required: leads that must be there. All twelve: the recording must have these and no others.
        contract: the leads and the length that are wanted.

    Raises:
        Rejected: ``leads``, ``rate``, ``units``, ``short``, ``nan`` (samples without a value) or ``zero`` (all samples are).
    """
    rows = _lead_rows(recording.leads, required, contract)
    rate = recording.rate
    if not RATES[0] <= rate <= RATES[1]:
        raise Rejected("rate", f"{rate:g} Hz")
    factors = _factors_to_mv(recording)
    signal = recording.signal[:, _part(recording, crop, min_seconds, contract)]
    if any(factor != 1.0 for factor in factors):
        signal = signal * np.array(factors)[:, None]
    ecg, given = _in_order(signal, rows), rows >= 0
    if not np.isfinite(ecg).all():
        missing = ~np.isfinite(ecg)
        names = ", ".join(lead for lead, affected in zip(contract.leads, missing.any(axis=1)) if affected)
        raise Rejected("nan", f"{int(missing.sum())} samples without a value in {names}")
    if not ecg.any():
        raise Rejected("zero", "every sample is zero")
    return CalibratedECG(ecg, rate, given)


def at_contract_rate(calibrated: CalibratedECG, contract: SignalContract = STORE_SIGNALS) -> np.ndarray:
    """Float ``[leads, samples]`` mV at the contract's sample rate, at most ``n_samples`` of them, not padded.

    Raises:
        Rejected: ``clipped``: the values are too large to be resampled.
    """
    ecg = resample(calibrated.ecg, calibrated.rate, contract.sample_rate)
    if ecg is not calibrated.ecg and not np.isfinite(ecg).all():
        raise Rejected("clipped", "values too large to be resampled; are unit and gain right?")
    return ecg[:, : contract.n_samples]


def _lead_rows(names: Sequence[str], required: Sequence[str], contract: SignalContract) -> np.ndarray:
    """Row of the recording for each of the contract's leads, int ``[leads]``; -1 = the recording lacks it."""
    try:
        if len(required) == len(LEADS):
            lead_indices(names)
        else:
            _check_required(names, required)
    except LeadError as error:
        raise Rejected("leads", str(error)) from None
    rows = {str(name).strip().lower(): row for row, name in enumerate(names)}
    return np.array([rows.get(lead.lower(), -1) for lead in contract.leads])


def _check_required(names: Sequence[str], required: Sequence[str]) -> None:
    """Raise LeadError where a name is unknown or doubled, or one of ``required`` is missing."""
    given = lead_keep_mask(names)
    needed = lead_keep_mask(required) if len(required) else np.zeros(len(LEADS), dtype=bool)
    absent = [lead for lead, missing in zip(LEADS, needed & ~given) if missing]
    if absent:
        raise LeadError(f"missing {', '.join(absent)}, which the model reads")


def _factors_to_mv(recording: Recording) -> list[float]:
    """Factor to mV of each lead."""
    factors = []
    for lead, unit in zip(recording.leads, recording.units):
        factor = MILLIVOLTS.get(str(unit).strip().lower())
        if factor is None:
            raise Rejected("units", f"lead {lead} is in {unit!r}, not in V, mV, uV or nV")
        factors.append(factor)
    return factors


def _part(recording: Recording, crop: str, min_seconds: float, contract: SignalContract) -> slice:
    """The samples of ``recording.signal`` that are used; all of them where its reader has cropped already."""
    rate = recording.rate
    samples = recording.signal.shape[1] if recording.samples is None else recording.samples
    if samples < min_seconds * rate or samples == 0:
        raise Rejected("short", f"{samples / rate:.2f} s, at least {min_seconds:g} s are needed")
    if recording.samples is not None:
        return slice(None)
    return slice(*Crop(contract.seconds, crop).span(samples, rate))


def _in_order(signal: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The given rows of ``signal``, zeros for -1; the array itself where the order is right, as in most files."""
    if np.array_equal(rows, np.arange(len(signal))):
        return signal
    ecg = signal[rows]
    ecg[rows < 0] = 0
    return ecg
