"""Which findings a report denies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.data.text.negation import REACH, denied


def flags(text):
    """Of the words in capitals, which are findings: those denied."""
    words = text.split()
    findings = [(place, place + 1) for place, word in enumerate(words) if word.isupper()]
    found = denied([word.lower() for word in words], findings)
    return {words[start] for (start, _), flag in zip(findings, found) if flag}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STE", ""),
        ("no STE", "STE"),
        ("sinus rhythm without STE", "STE"),
        ("no evidence of acute STE", "STE"),
        ("no STE or TINV", "STE TINV"),
        ("no STE and no TINV", "STE TINV"),
        ("neither STE nor TINV", "STE TINV"),
        ("no AFIB PVC or PAC", "AFIB PVC PAC"),  # a list that lost its commas
        ("no STE in leads v1 to v3 or TINV", "STE TINV"),
        ("no acute anterior or inferior STE", "STE"),
        ("no depression or STE", "STE"),
        # Where it ends.
        ("no STE but TINV", "STE"),
        ("no STE however TINV or LVH", "STE"),
        ("no STE TINV", "STE"),
        ("no STE in leads v1 to v3 TINV", "STE"),
        ("no STE with LBBB", "STE"),
        ("no STE possible LVH", "STE"),
        ("LBBB no STE LVH", "STE"),
        ("no significant abnormality SR", ""),
        ("no ischemic changes SR", ""),
        ("no definite pathology SR", ""),
        ("no one of all these words reaches STE", ""),
        # After the finding.
        ("STE ruled out", "STE"),
        ("STE has been ruled out", "STE"),
        ("STE is absent", "STE"),
        ("STE and TINV not seen", "STE TINV"),
        ("LVH STE in leads v1 to v3 is no longer present", "STE"),
        ("the cause of the SBRAD is not evident", "SBRAD"),
        ("SARRH the cause of the bradycardia is not evident", ""),
        ("LVH the cause is excluded", ""),
        # It may be there.
        ("STE cannot be ruled out", ""),
        ("cannot rule out MI", ""),
        ("MI cannot be entirely excluded", ""),
        ("rule out MI", ""),
        ("MI nicht auszuschließen", ""),
        ("MI nicht sicher ausgeschlossen", ""),
        ("MI kan ej uteslutas", ""),
        # No negation of a finding.
        ("no change in STE", ""),
        ("no significant change STE", ""),
        ("no previous tracing STE", ""),
        ("no further analysis STE", ""),
        ("not only STE", ""),
        # Other languages.
        ("kein hinweis auf MI", "MI"),
        ("keine STE oder TINV", "STE TINV"),
        ("ohne STE aber TINV", "STE"),
        ("AFIB ausgeschlossen", "AFIB"),
        ("weder STE noch TINV", "STE TINV"),
        ("inga tecken till MI", "MI"),
        ("SR utan STE med LBBB", "STE"),
    ],
)
def test_reach_of_negations(text, expected):
    assert flags(text) == set(expected.split())


def test_a_negation_among_the_words_of_a_finding_is_its_own():
    words = "irregular rhythm without p waves st elevation".split()
    assert denied(words, [(0, 5), (5, 7)]) == [False, False]
    assert denied(["no", *words], [(1, 6), (6, 8)]) == [True, False]


FILLER = st.sampled_from("acute marked old moderate diffuse minor".split())


@given(st.lists(FILLER, max_size=REACH), st.sampled_from(["no", "without", "kein", "ingen", "no evidence of"]))
def test_a_negation_reaches_over_a_few_words(between, negation):
    assert flags(" ".join(["SR", negation, *between, "STE", "LVH"])) == {"STE"}
    assert flags(" ".join(["SR", *between, "STE", "LVH"])) == set()
    assert flags(" ".join(["SR", negation, *(["acute"] * (REACH + 1)), "STE"])) == set()


@given(
    st.lists(
        st.sampled_from("no not or and but STE LVH SR in v1 ruled out is cannot be excluded absent with".split()), max_size=12
    )
)
def test_any_words_are_taken(words):
    text = " ".join(words)
    found = flags(text)
    assert found <= set(words)
    if not {"no", "not", "excluded", "absent", "ruled"} & set(words):
        assert not found
    # A clause of its own changes nothing in what stands before it.
    assert found - {"PAC"} == flags(f"{text} but PAC") - {"PAC"}
