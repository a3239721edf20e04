"""Findings that reports mention."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmelt_plugin.data.text.mentions import Mention, Vocabulary
from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import label_sets, load_prompts
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import plan_record
from preprocess.synthetic_ecg.texts.classes import classes
from preprocess.synthetic_ecg.texts.reports import write_report

TEXTS = Path(__file__).parents[2] / "fixtures" / "first_cohort" / "prompts.json"
COHORT = json.loads(TEXTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(COHORT)


def test_spellings_plurals_and_the_class_name_are_recognised(vocabulary):
    assert vocabulary.findings == list(COHORT)
    for text in ("Ventricular premature complex", "Occasional PVC(s)", "PVCs.", "premature ventricular complexes"):
        assert vocabulary.findings_of(text) == ({"PVC"}, set())
    for text in ("1st degree A-V block", "First degree AV block", "first degree atrioventricular block"):
        assert vocabulary.findings_of(text) == ({"AVB1"}, set())
    assert vocabulary.findings_of("Low QRS voltage in limb lead") == ({"LOWV"}, set())
    assert vocabulary.findings_of("") == (set(), set())


def test_mentions_are_placed_and_denied_each_by_itself(vocabulary):
    found = vocabulary.mentions("Sinus rhythm with PVC(s); no ST elevation, T wave inversion or LBBB, but RBBB")
    assert found == [
        Mention("SR", 0, 2, False),
        Mention("PVC", 3, 4, False),
        Mention("STE", 6, 8, True),
        Mention("TINV", 8, 11, True),
        Mention("LBBB", 12, 13, True),
        Mention("RBBB", 14, 15, False),
    ]
    assert vocabulary.findings_of("no PVC. later PVC") == ({"PVC"}, set())


def test_a_phrase_inside_a_longer_one_of_another_class_is_not_meant():
    vocabulary = Vocabulary(
        {"RBBB": ["right bundle branch block"], "IRBBB": ["incomplete right bundle branch block"], "SR": ["sinus rhythm"]}
    )
    assert vocabulary.findings_of("incomplete right bundle branch block") == ({"IRBBB"}, set())
    assert vocabulary.findings_of("no incomplete right bundle branch block but RBBB") == ({"RBBB"}, {"IRBBB"})
    # A text that joins two things names both.
    joined = Vocabulary({"SR": ["sinus rhythm"], "AVB1": ["sinus rhythm with first degree av block", "first degree av block"]})
    assert joined.findings_of("sinus rhythm with 1st degree AV block") == ({"SR", "AVB1"}, set())


def test_words_of_two_letters_are_no_phrases():
    vocabulary = Vocabulary({"ST": ["sinus tachycardia"], "AT": ["atrial tachycardia"]})
    assert vocabulary.findings_of("st segments at v1, tachycardia") == (set(), set())
    with pytest.raises(DataError, match="class AF: no text by which"):
        Vocabulary({"AF": ["AF"]})


@pytest.mark.parametrize("label_set", label_sets())
def test_every_class_of_ours_is_recognised_by_its_name(label_set):
    vocabulary = Vocabulary(load_prompts(label_set, "all"))
    for name, (text,) in load_prompts(label_set, "name").items():
        assert name in vocabulary.findings_of(text)[0], name
        assert name in vocabulary.findings_of(f"no {text}")[1], name


def test_reports_of_the_synthetic_cohort_mention_their_labels():
    """Nothing that is there is denied, and next to nothing affirmed that is not; many words are not those of the names."""
    vocabulary = Vocabulary({code: [name] for code, name in classes().items()})
    plans = [plan_record(1, i, draw_subject(1, i)) for i in range(300)]
    found = extra = hidden = 0
    for plan in plans:
        texts, labels = write_report(plan), plan.findings.labels
        affirmed, denied = vocabulary.findings_of(". ".join(texts))
        found, extra, hidden = found + len(affirmed), extra + len(affirmed - labels), hidden + len(denied & labels)
        # A denial goes on over the end of a statement: "without P waves" denies what the next one names.
        denied = vocabulary.findings_of(". ".join(text for text in texts if "without" not in text.lower()))[1]
        assert not denied & labels, (denied, texts)
    # Now and then another of the findings of a class: "inferior myocardial infarction" where it is inferolateral.
    assert found > 450 and extra < 0.02 * found and hidden < 0.01 * found


WORDS = st.sampled_from(
    "sinus rhythm no st elevation t wave inversion inverted waves pvc pvcs with atrial a v block 1st degree".split()
)


@given(st.lists(WORDS, max_size=14))
def test_mentions_agree_with_a_search_of_every_place(words):
    """Against a search that compares every stretch of the text with every phrase, which here have no plural of their own."""
    phrases = {"SR": ["sinus rhythm"], "STE": ["st elevation"], "TINV": ["t wave inversion"], "PVC": ["pvc"]}
    text = " ".join(words)
    compared = text.replace("pvcs", "pvc").replace("waves", "wave")
    expected = {name for name, (phrase,) in phrases.items() if f" {phrase} " in f" {compared} "}
    affirmed, denied = Vocabulary(phrases).findings_of(text)
    assert affirmed | denied == expected and not affirmed & denied
    assert Vocabulary(phrases).mentions(text) == Vocabulary(phrases).mentions(normalise_report(text))
    if "no" not in words:
        assert not denied
