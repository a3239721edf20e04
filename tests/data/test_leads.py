"""Leads are found by name."""

import pytest

from cmelt_plugin.data.leads import LEAD_SETS, LEADS, LeadError, lead_indices, parse_leads


def test_mimic_order_is_put_right():
    mimic = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
    assert [mimic[i] for i in lead_indices(mimic)] == list(LEADS)
    assert lead_indices(mimic)[4:6] == [5, 4]


def test_case_and_blanks_do_not_matter():
    assert lead_indices([f" {lead.upper()} " for lead in LEADS]) == list(range(12))


@pytest.mark.parametrize(
    "names, message",
    [
        (LEADS[:-1], "11 leads.*missing V6"),
        ((*LEADS[:-1], "V5"), "missing V6; doubled V5"),
        ((*LEADS[:-1], "V7"), "missing V6; unknown V7"),
        ((*LEADS, "RESP"), "13 leads.*unknown RESP"),
        ((), "0 leads"),
    ],
)
def test_wrong_leads_are_named(names, message):
    with pytest.raises(LeadError, match=message):
        lead_indices(names)


@pytest.mark.parametrize("text", ["I+II+V2", "v2,i, ii", " I II  V2 ", "3"])
def test_sets_of_leads_are_named_or_listed(text):
    assert parse_leads(text) == ("I", "II", "V2")


def test_names_of_sets_and_what_is_none():
    assert (parse_leads("all"), parse_leads("Limb"), parse_leads("12")) == (LEADS, LEADS[:6], LEADS)
    assert all(parse_leads(name) == leads for name, leads in LEAD_SETS.items())
    for text, message in (
        ("", "no leads chosen"),
        ("I+V7", "unknown lead V7"),
        ("I,i", "a lead is named twice"),
        ("4", "lead 4"),
    ):
        with pytest.raises(LeadError, match=message):
            parse_leads(text)
