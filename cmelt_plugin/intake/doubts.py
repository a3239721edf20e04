"""What is doubtful about a recording, from its numbers alone: nothing is mended, everything is named."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cmelt_plugin.data.electrodes import doubtful_electrodes
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.plausibility import Reason, changing, examine, nothing_left
from cmelt_plugin.data.readers import contract
from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.signal_contract import STORE_SIGNALS
from cmelt_plugin.data.signals import at_contract_rate, calibrate
from cmelt_plugin.data.store.record_store import SAMPLE_RATE, to_digital
from cmelt_plugin.intake.recording import Recording


def doubts(recording: Recording) -> tuple[Reason, ...]:
    """Why a recording is doubtful; no reason means nothing is.

    The reasons of :func:`cmelt_plugin.data.plausibility.examine` and :func:`.nothing_left`, and ``header`` (what the file
    itself says), ``missing`` (samples without a value), ``flat`` (leads that are constant), ``electrodes`` (exchanged ones)
    and ``leads`` (none of the standard twelve). Leads beyond the twelve are not looked at.
    """
    rows = [row for row, lead in enumerate(recording.leads) if lead in LEADS]
    missing = np.isnan(recording.signal).any(axis=1)
    reasons = [Reason("header", text) for text in recording.doubtful]
    if missing.any():
        names = ", ".join(lead for lead, lacks in zip(recording.leads, missing) if lacks)
        share = 100 * np.isnan(recording.signal[missing]).mean()
        reasons.append(Reason("missing", f"{names} without a value for {share:.3g} % of the time"))
    whole = [row for row in rows if not missing[row]]
    if not whole:
        return (*reasons, Reason("leads", f"no whole one of {', '.join(LEADS)}"))
    given = [recording.leads[row] for row in whole]
    signal = recording.signal[whole]
    constant = ~changing(signal)
    if constant.any():
        reasons.append(Reason("flat", f"{', '.join(lead for lead, flat in zip(given, constant) if flat)} constant"))
    seconds = signal.shape[1] / recording.sample_rate
    all_of_it = replace(STORE_SIGNALS, n_samples=math.ceil(seconds * SAMPLE_RATE))
    found = contract.Recording(signal.astype(np.float64), given, ["mV"] * len(given), recording.sample_rate)
    try:
        calibrated = calibrate(found, required=(), contract=all_of_it)
        ecg = at_contract_rate(calibrated, all_of_it)
    except Rejected as reason:
        return (*reasons, Reason(reason.code, str(reason).split(": ", 1)[1]))
    digital, clipped = to_digital(ecg)
    lost = nothing_left(ecg, digital, clipped, calibrated.given)
    if lost is not None:
        return (*reasons, lost)
    reasons += examine(ecg, digital, clipped, calibrated.given).reasons
    if calibrated.given.all():
        reasons += doubtful_electrodes(ecg, SAMPLE_RATE, reasons)
    return tuple(reasons)
