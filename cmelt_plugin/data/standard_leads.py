"""How a recording of other leads is brought to the standard twelve, whether it came as a file or as an array.

Limb leads that follow from I and II are computed; leads beyond the twelve are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from cmelt_plugin.data.lead_codes import OTHER_LEADS, lead_name
from cmelt_plugin.data.leads import LEADS, LeadError
from cmelt_plugin.data.readers.contract import Recording

Leads = tuple[str, ...]


def with_limb_leads(signal: np.ndarray, leads: Sequence[str]) -> tuple[np.ndarray, Leads, Leads]:
    """The limb leads that follow from I and II, the standard six first and in their order (Einthoven, Goldberger).

    Args:
        signal: ``[leads, samples]``, all rows in one unit.
        leads: names of its rows, standard ones as :data:`.LEADS` writes them, none twice.

    Returns:
        Signal, leads, and those among them that were computed; the very ``signal`` where none was.
    """
    rows = dict(zip(leads, signal))
    missing = tuple(lead for lead in LEADS[2:6] if lead not in rows)
    if not missing or not {"I", "II"} <= rows.keys():
        return signal, tuple(leads), ()
    one, two = rows["I"], rows["II"]
    computed = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    rows = {**{lead: rows[lead] if lead in rows else computed[lead] for lead in LEADS[:6]}, **rows}
    return np.stack(list(rows.values())), tuple(rows), missing


def without_others(
    signal: np.ndarray, leads: Sequence[str], others: Collection[str] | None = None
) -> tuple[np.ndarray, Leads, Leads]:
    """The leads of the standard twelve, where a recording has some of these.

    Args:
        signal: ``[leads, samples]``.
        leads: as :func:`with_limb_leads` takes them.
        others: leads that may be left out, in small letters; None: whatever is none of the twelve.

    Returns:
        Signal, leads, and those that were left out; the very ``signal`` where none was.
    """
    if not set(leads) & set(LEADS):
        return signal, tuple(leads), ()
    left = tuple(lead for lead in leads if lead not in LEADS and (others is None or lead.lower() in others))
    if not left:
        return signal, tuple(leads), ()
    rows = [row for row, lead in enumerate(leads) if lead not in left]
    return signal[rows], tuple(leads[row] for row in rows), left


def standard_array(recording: Recording) -> Recording:
    """A recording whose leads a caller named: as a file's, but a name that no lead is known by stays, to be refused.

    Args:
        recording: in millivolts.

    Raises:
        LeadError: a lead is named twice.
    """
    leads = tuple(map(lead_name, recording.leads))
    low = [lead.lower() for lead in leads]
    doubled = dict.fromkeys(lead for lead in leads if low.count(lead.lower()) > 1)
    if doubled:
        raise LeadError(f"doubled {', '.join(doubled)}; give each lead its own name")
    signal, leads, _ = with_limb_leads(recording.signal, leads)
    signal, leads, ignored = without_others(signal, leads, OTHER_LEADS)
    return recording._replace(signal=signal, leads=leads, units=["mV"] * len(leads), ignored=ignored)
