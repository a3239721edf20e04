"""Leads that follow from I and II are computed, leads beyond the twelve left out; the same for files and arrays."""

from __future__ import annotations

import numpy as np
import pytest

from cmelt_plugin.data.lead_codes import LEAD_NAMES, OTHER_LEADS
from cmelt_plugin.data.leads import LEADS, LeadError
from cmelt_plugin.data.limb_leads import COEFFICIENTS
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.data.standard_leads import standard_array, with_limb_leads, without_others
from cmelt_plugin.intake.formats import ishne

SIGNAL = np.random.default_rng(0).standard_normal((4, 50))


def test_what_follows_from_i_and_ii_obeys_the_relations() -> None:
    signal, leads, computed = with_limb_leads(SIGNAL[:3], ("V1", "II", "I"))
    assert leads == (*LEADS[:6], "V1") and computed == LEADS[2:6]
    np.testing.assert_allclose(COEFFICIENTS @ signal[:6], 0, atol=1e-12)
    np.testing.assert_array_equal(signal[[6, 1, 0]], SIGNAL[:3])
    signal, leads, computed = with_limb_leads(SIGNAL, ("I", "II", "aVR", "V1"))
    assert computed == ("III", "aVL", "aVF") and np.array_equal(signal[3], SIGNAL[2])
    for leads in (("I", "V1", "V2", "V3"), LEADS[2:6]):
        same, given, none = with_limb_leads(SIGNAL, leads)
        assert same is SIGNAL and given == leads and none == ()


def test_others_are_left_out_where_there_are_standard_ones() -> None:
    signal, leads, left = without_others(SIGNAL, ("X", "I", "odd", "V1"))
    assert leads == ("I", "V1") and left == ("X", "odd") and np.array_equal(signal, SIGNAL[[1, 3]])
    signal, leads, left = without_others(SIGNAL, ("X", "I", "odd", "V1"), {"x"})
    assert leads == ("I", "odd", "V1") and left == ("X",) and np.array_equal(signal, SIGNAL[1:])
    assert without_others(SIGNAL, ("X", "Y", "Z", "ES"))[0] is SIGNAL


def test_names_of_arrays_are_those_of_files() -> None:
    def recording(*leads: str) -> Recording:
        return Recording(SIGNAL[: len(leads)], leads, ["mV"] * len(leads), 500.0)

    found = standard_array(recording("ECG v1", "Lead I (Einthoven)", "MLII"))
    assert found.leads == ("V1", "I") and found.ignored == ("MLII",) and found.units == ["mV", "mV"]
    assert standard_array(recording("I", "V0")).leads == ("I", "V0")  # refused for V0 where leads are put in order
    for twice, message in ((("v1", "I", "V1 "), "doubled V1; give"), (("vx", "VX", "I"), "doubled vx, VX; give")):
        with pytest.raises(LeadError, match=message):
            standard_array(recording(*twice))


def test_every_lead_that_readers_name_is_known() -> None:
    standard = {lead.lower() for lead in LEADS}
    assert not OTHER_LEADS & standard
    named = {name.lower() for name in (*LEAD_NAMES.values(), *ishne.LEADS)} - {"unknown", "bipolar"}
    assert named <= standard | OTHER_LEADS
