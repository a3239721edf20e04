"""From one recording to one row of the store, or to the reason why it is left out.

Every reason begins with a stable code: ``leads``, ``units``, ``rate``, ``short``, ``nan``, ``zero``, ``flat``, ``clipped``
or ``implausible``; the readers (:mod:`cmelt_plugin.data.readers`) add ``missing``, ``truncated``, ``header``, ``gain``,
``format``, ``checksum``, ``unreadable``, ``large``, ``variable`` and ``row``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.plausibility import Measures, Plausibility, Reason, changing, describe_reasons, examine, nothing_left
from cmelt_plugin.data.readers.contract import Crop, Reading, Recording, Rejected
from cmelt_plugin.data.signal_contract import STORE_SIGNALS
from cmelt_plugin.data.signals import at_contract_rate, calibrate
from cmelt_plugin.data.store.record_store import N_SAMPLES, SAMPLE_RATE, to_digital

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
    standardise_leads: bool = False
    """Whether each lead gets mean 0 and variance 1 in place of millivolts, once it is accepted."""

    @property
    def reading(self) -> Reading:
        """What of a recording :func:`to_row` needs."""
        return Reading(Crop(STORE_SIGNALS.seconds, self.crop), self.accept_wrong_checksums)


class Row(NamedTuple):
    """A recording ready for the store."""

    digital: np.ndarray
    """int16 [12, 5000] in units of 0.001 mV, zero-padded at the end."""
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
    required = LEADS if options.missing_leads == REJECT else ()
    calibrated = calibrate(recording, options.crop, options.min_seconds, required)
    original, given = calibrated.ecg, calibrated.given
    if recording.rate != SAMPLE_RATE:
        _check_flat(original, ~changing(original) & given, given, options)
    ecg = at_contract_rate(calibrated)
    digital = np.zeros((len(LEADS), N_SAMPLES), dtype=np.int16)
    real = digital[:, : ecg.shape[1]]
    real[:], clipped = to_digital(ecg)
    plausibility = examine(ecg, real, clipped, given)
    lost = nothing_left(ecg, real, clipped, given)
    if lost is None or lost.code == "flat":  # this names the leads
        _check_flat(original, ~changing(real) & given, given, options, plausibility.measures)
    if lost is not None:
        raise Unusable(*lost, plausibility.measures)
    if plausibility.reasons and options.implausible == REJECT:
        raise Unusable("implausible", describe_reasons(plausibility.reasons), *plausibility)
    if options.standardise_leads:
        real[:], _ = to_digital(_standardised(ecg))
    return Row(digital, ecg.shape[1], clipped, recording.rate, plausibility, recording.notes)


def _standardised(ecg: np.ndarray) -> np.ndarray:
    """Each lead with mean 0 and variance 1; a flat one is zero."""
    centred = ecg - ecg.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=changing(centred)[:, None])


def _check_flat(
    original: np.ndarray, flat: np.ndarray, given: np.ndarray, options: SignalOptions, measures: Measures | None = None
) -> None:
    """Refuse too many constant leads; ``measures`` where they may have become so by rounding or clipping."""
    # 11 flat leads of 12 may be tolerated, all the leads that a device has may not.
    if flat.sum() <= options.allow_flat_leads and not flat.sum() == given.sum() < len(LEADS):
        return
    if measures is None or not changing(original)[flat].any():
        raise Rejected("flat", f"constant in {_lead_names(flat)}")
    raise Unusable("flat", f"constant in {_lead_names(flat)} after rounding to 0.001 mV and clipping", measures)


def _lead_names(which: np.ndarray) -> str:
    return ", ".join(lead for lead, chosen in zip(LEADS, which) if chosen)
