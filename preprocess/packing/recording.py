"""From one recording to one row of the store, or to the reason why it is left out.

Every reason begins with a stable code: ``leads``, ``units``, ``rate``, ``short``, ``nan``, ``zero``, ``flat``, ``clipped``
or ``implausible``; the readers (:mod:`cmelt_plugin.data.readers`) add ``missing``, ``truncated``, ``header``, ``gain``,
``format``, ``checksum``, ``unreadable``, ``large``, ``variable`` and ``row``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.leads import LEADS, LeadError, lead_indices, lead_keep_mask
from cmelt_plugin.data.plausibility import Measures, Plausibility, Reason, changing, describe_reasons, examine, nothing_left
from cmelt_plugin.data.readers.contract import MILLIVOLTS, Crop, Reading, Recording, Rejected
from cmelt_plugin.data.resampling import RATES, resample
from cmelt_plugin.data.store.record_store import N_SAMPLES, SAMPLE_RATE, to_steps

SECONDS = N_SAMPLES / SAMPLE_RATE
REJECT, ZERO = "reject", "zero"
KEEP, LIST = "keep", "list"


class Unusable(Rejected):
    """A recording that was read and measured, and of which nothing is left, or which is implausible."""

    def __init__(self, code: str, detail: str, measures: Measures, reasons: tuple[Reason, ...] = ()) -> None:
        super().__init__(code, detail)
        self.plausibility = Plausibility(measures, reasons)


@dataclass(frozen=True)
class SignalOptions:
    """What is accepted, how recordings longer than 10 s are cut, and what becomes of leads that are not there."""

    min_seconds: float = 5.0
    allow_flat_leads: int = 0
    crop: str = "start"
    """"start" keeps the first 10 s, "centre" the middle 10 s."""
    missing_leads: str = REJECT
    """"reject", or "zero": recordings of fewer than 12 leads are accepted, their other leads are zero."""
    implausible: str = LIST
    """"keep", "reject", or "list": what becomes of recordings about which something is doubtful."""
    accept_wrong_checksums: bool = False
    """Whether a record whose header has other checksums than its samples is accepted."""

    @property
    def reading(self) -> Reading:
        """What of a recording :func:`to_row` needs."""
        return Reading(Crop(SECONDS, self.crop), self.accept_wrong_checksums)


class Row(NamedTuple):
    """A recording ready for the store."""

    steps: np.ndarray
    """int16 [12, 5000] in steps of 0.001 mV, zero-padded at the end."""
    n_samples: int
    """Real samples at 500 Hz."""
    clipped: int
    """Samples beyond 32.767 mV."""
    rate: float
    """Hz of the original."""
    plausibility: Plausibility
    """What is doubtful about it, and the numbers behind that."""
    notes: tuple[str, ...] = ()
    """What the reader assumed or could not verify."""


def to_row(recording: Recording, options: SignalOptions = SignalOptions()) -> Row:
    """Check a recording and bring it to 12 leads in canonical order, millivolts, 500 Hz and 10 s.

    Other rates are resampled by the ratio of the rates, so that heart rate and intervals stay what they were; then
    longer recordings are cut to 10 s and shorter ones padded with zeros at the end.

    Raises:
        Rejected: other than the 12 leads (some of them where ``missing_leads`` allows it), an unknown unit or rate,
            fewer than ``min_seconds``, missing values, all zero, or more than ``allow_flat_leads`` leads that are
            constant over the part kept; a lead the recording lacks does not count as constant.
        Unusable: zero or constant after rounding, more than a quarter of it clipped; or ``implausible`` is "reject" and
            something is doubtful.
    """
    recording, kept = _all_leads(recording, options.missing_leads)
    order = lead_indices(recording.leads)
    if not RATES[0] <= recording.rate <= RATES[1]:
        raise Rejected("rate", f"{recording.rate:g} Hz")
    ecg = _crop(_millivolts(recording), recording, options)
    if order != list(range(len(LEADS))):  # most files have this order, and copies take their time
        ecg = ecg[order]
    if not np.isfinite(ecg).all():
        missing = ~np.isfinite(ecg)
        names = _lead_names(missing.any(axis=1))
        raise Rejected("nan", f"{int(missing.sum())} samples without a value in {names}")
    if not ecg.any():
        raise Rejected("zero", "every sample is zero")
    original = ecg
    if recording.rate != SAMPLE_RATE:
        _check_flat(original, ~changing(original) & kept, kept, options)
        ecg = resample(ecg, recording.rate)
        if not np.isfinite(ecg).all():
            raise Rejected("clipped", "values too large to be resampled; are unit and gain right?")
    ecg = ecg[:, :N_SAMPLES]
    steps = np.zeros((len(LEADS), N_SAMPLES), dtype=np.int16)
    real = steps[:, : ecg.shape[1]]
    real[:], clipped = to_steps(ecg)
    plausibility = examine(ecg, real, clipped, kept)
    lost = nothing_left(ecg, real, clipped, kept)
    if lost is None or lost.code == "flat":  # this names the leads
        _check_flat(original, ~changing(real) & kept, kept, options, plausibility.measures)
    if lost is not None:
        raise Unusable(*lost, plausibility.measures)
    if plausibility.reasons and options.implausible == REJECT:
        raise Unusable("implausible", describe_reasons(plausibility.reasons), *plausibility)
    return Row(steps, ecg.shape[1], clipped, recording.rate, plausibility, recording.notes)


def _check_flat(
    original: np.ndarray, flat: np.ndarray, kept: np.ndarray, options: SignalOptions, measures: Measures | None = None
) -> None:
    """Refuse too many constant leads; ``measures`` where they may have become so by rounding or clipping."""
    # 11 flat leads of 12 may be tolerated, all the leads that a device has may not.
    if flat.sum() <= options.allow_flat_leads and not flat.sum() == kept.sum() < len(LEADS):
        return
    if measures is None or not changing(original)[flat].any():
        raise Rejected("flat", f"constant in {_lead_names(flat)}")
    raise Unusable("flat", f"constant in {_lead_names(flat)} after rounding to 0.001 mV and clipping", measures)


def _all_leads(recording: Recording, missing_leads: str) -> tuple[Recording, np.ndarray]:
    """The recording with zeros for the leads it lacks, and which of the canonical leads it has: bool [12]."""
    try:
        if missing_leads == REJECT:
            lead_indices(recording.leads)
            return recording, np.ones(len(LEADS), dtype=bool)
        kept = lead_keep_mask(recording.leads)
    except LeadError as error:
        raise Rejected("leads", str(error)) from None
    lacking = [lead for lead, there in zip(LEADS, kept) if not there]
    if not lacking:
        return recording, kept
    zeros = np.zeros((len(lacking), recording.signal.shape[1]), dtype=recording.signal.dtype)
    whole = recording._replace(
        signal=np.concatenate([recording.signal, zeros]),
        leads=[*recording.leads, *lacking],
        units=[*recording.units, *["mV"] * len(lacking)],
    )
    return whole, kept


def _millivolts(recording: Recording) -> np.ndarray:
    factors = [MILLIVOLTS.get(str(unit).strip().lower()) for unit in recording.units]
    for lead, unit, factor in zip(recording.leads, recording.units, factors):
        if factor is None:
            raise Rejected("units", f"lead {lead} is in {unit!r}, not in V, mV, uV or nV")
    if all(factor == 1.0 for factor in factors):
        return recording.signal
    return recording.signal * np.array(factors)[:, None]


def _crop(ecg: np.ndarray, recording: Recording, options: SignalOptions) -> np.ndarray:
    """The part that is kept of all or, where ``recording.samples`` says so, of just that part."""
    rate, samples = recording.rate, ecg.shape[1] if recording.samples is None else recording.samples
    if samples < options.min_seconds * rate or samples == 0:
        raise Rejected("short", f"{samples / rate:.2f} s, at least {options.min_seconds:g} s are needed")
    if recording.samples is not None:
        return ecg
    start, stop = Crop(SECONDS, options.crop).span(samples, rate)
    return ecg[:, start:stop]


def _lead_names(which: np.ndarray) -> str:
    return ", ".join(lead for lead, chosen in zip(LEADS, which) if chosen)
