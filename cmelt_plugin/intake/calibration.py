"""What the readers of research formats give, as millivolts."""

from __future__ import annotations

import numpy as np

from cmelt_plugin.data.lead_codes import lead_name
from cmelt_plugin.data.readers import contract
from cmelt_plugin.intake.refusal import refuse
from cmelt_plugin.intake.waveforms import check_amplitude, check_rate


def in_millivolts(path: str, found: contract.Recording) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Signal (float32 ``[leads, samples]``), leads and notes; what is no voltage is left out.

    Raises:
        DataError: nothing is a voltage, a lead is there twice, or no recorder has such a rate or such voltages.
    """
    check_rate(path, found.rate)
    factors = [contract.MILLIVOLTS.get(unit.strip().lower()) for unit in found.units]
    leads = tuple(lead_name(lead) for lead, factor in zip(found.leads, factors) if factor is not None)
    left = [f"{lead} ({unit})" for lead, unit, factor in zip(found.leads, found.units, factors) if factor is None]
    if not leads or not found.signal.shape[1]:
        refuse(path, f"holds no voltages, but {', '.join(left[:10])}" if left else "holds no samples")
    if len(set(leads)) < len(leads):
        refuse(path, f"a lead twice among {', '.join(leads[:12])}", "give each lead its own name")
    rows = [row * factor for row, factor in zip(found.signal, factors) if factor is not None]
    values = np.stack(rows)
    check_amplitude(path, values)
    notes = found.notes + ((f"Left out: {', '.join(left[:10])}.",) if left else ())
    return values.astype(np.float32), leads, notes
