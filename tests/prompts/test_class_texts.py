"""What our class texts may say: the pitfalls of the paper's appendix A.3 (Figure 6) and of published prompt files."""

import re
from collections import Counter

import pytest

from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.prompts import absence_texts, class_names, label_sets, load_prompts

# Words (beginnings of words) that must not occur in any text of a class: mostly those of its opposite or its neighbours.
# A class is meant in every set that has it, "set:class" in one. The trailing underscore of PTB-XL's codes is left out.
FORBIDDEN = [
    ("flutter sawtooth paroxysm persistent permanent rapid", "AFIB code:AF cinc2021:AF"),
    ("fibrillat irregular", "AFLT AFL csn:AF"),
    ("tachy brady abnormal block elevat depress inver infarct hypertroph", "NORM"),
    ("tachy brady irregular arrhythmia", "SR NSR"),
    ("brady slow below supraventricular atrial", "STACH STach ST"),
    ("tachy fast above", "SBRAD SB"),
    ("sinus tachy fast above", "Brady"),
    ("tachy brady atrial flutter fibrillat", "SARRH SA"),
    ("paroxysm sudden abrupt atrial flutter fibrillat", "SVTAC SVT"),
    ("sinus atrial ventricular flutter fibrillat", "PSVT"),
    ("tachy flutter fibrillat", "SVARR"),
    ("sinus supraventricular flutter fibrillat", "AT"),
    ("third three trigem ventricular atrial", "BIGU"),
    ("other alternat bigem ventricular atrial", "TRIGU"),
    ("atrial supraventricular trigem escape late", "VB"),
    ("flutter fibrillat sinus", "PACE PR"),
    ("ventricular wide broad escape late", "PAC APB"),
    ("atrial supraventricular narrow escape late", "PVC VPC VPB"),
    ("atrial ventricular supraventricular bigem trigem", "PRC(S)"),
    ("premature early narrow junctional atrial", "VEB"),
    ("premature early wide broad ventricular", "JEB"),
    ("second third 2nd 3rd complete dissociat prolong", "1AVB IAVB 1dAVb"),
    ("first third 1st 3rd complete dissociat mobitz wenckebach type", "2AVB"),
    ("first third 1st 3rd complete dissociat", "2AVB1"),
    ("first second 1st 2nd mobitz wenckebach", "3AVB"),
    ("first second third 1st 2nd 3rd complete mobitz wenckebach", "csn:AVB"),
    ("bundle fascic intraventricular", "AVB"),
    ("block short", "LPR PRIE"),
    ("left fascic hemiblock incomplete partial", "CRBBB RBBB"),
    ("left fascic complete", "IRBBB"),
    ("right fascic hemiblock incomplete partial", "CLBBB LBBB"),
    ("right fascic complete", "ILBBB"),
    ("left right incomplete complete fascic", "BBB"),
    ("right posterior", "LAFB LAnFB"),
    ("leftward anterior", "LPFB"),
    ("complete incomplete wide", "LAFB/LPFB"),
    ("left right fascic", "IVCD NSIVCB"),
    ("block hypertroph", "WPW"),
    ("right atri septal", "LVH"),
    ("left atri septal", "RVH"),
    ("right ventric pulmonale", "LAO/LAE"),
    ("left ventric mitrale", "RAO/RAE"),
    ("left right atri apical", "SEHYP"),
    ("right clockwise", "LAD ALS"),
    ("left clockwise", "RAD ARS"),
    ("counter early", "CR"),
    ("clockwise late delay", "CCR"),
    ("short", "LNGQT LQT QTIE"),
    ("flat tall peak depress elevat", "INVT TInv TWO"),
    ("inver negative elevat depress", "TAB TAb TWC NT NDT"),
    ("inver negative tall high", "LOWT"),
    ("depress lower down", "STE STTU ERV"),
    ("elevat raise upward above tilt", "STD STDD"),
    ("elevat depress", "NST csn:STTC"),
    ("infarct hypertroph bundle block fibrillat", "STTC"),
    ("bundle block hypertroph fibrillat ischemi", "MI"),
    ("infarct block ischemi", "HYP"),
    ("infarct hypertroph ischemi fibrillat", "CD"),
    ("elevat infarct", "DIG"),
    ("depress digitalis", "ANEUR"),
    ("elevat depress digitalis infarct", "EL"),
    ("inver elevat depress", "AQW QAb QWAVE UW"),
    ("low small right atri", "HVOLT VCLVH"),
    ("high large tall hypertroph", "LVOLT LQRSV"),
    ("normal bundle infarct", "ABQRS"),
    ("left right infarct", "PRWP"),
    ("left right qrs ventric", "PWC"),
    ("infer poster lateral", "ptb-xl-sub:AMI"),
    ("anter poster lateral sept", "ptb-xl-sub:IMI"),
    ("infer poster later anterol anteros sept", "ptb-xl-all:AMI"),
    ("anter poster later inferol inferop", "ptb-xl-all:IMI"),
    ("infer anter poster sept", "LMI"),
    ("infer anter later sept", "PMI"),
    ("infer poster later anterior anterol", "ASMI"),
    ("infer poster sept anteros", "ALMI"),
    ("anter poster sept", "ILMI"),
    ("anter later sept inferol", "IPMI"),
    ("anter sept", "IPLMI"),
    ("infer anter later poster sept", "ISC"),
    ("infer poster", "ISCA"),
    ("anter poster sept", "ISCI"),
    ("infer later poster anterior anterol", "ISCAS INJAS"),
    ("infer poster anterior anteros sept", "ISCAL INJAL"),
    ("infer later anterol anteros sept poster", "ISCAN"),
    ("anter later inferol poster", "ISCIN INJIN"),
    ("infer anter sept poster", "ISCLA INJLA"),
    ("anter sept poster inferior", "ISCIL INJIL"),
    ("normal preserved mild moderate above 40 45 50", "lvef_lt_30"),
    ("normal preserved mild above 45 50", "lvef_lt_40"),
    ("normal preserved above 45", "lvef_lt_50"),
    ("normal preserved above 30 40 50", "lvef_lte_45_flag"),
    ("normal right thin", "lvwt_gte_13_flag"),
    ("mild regurgit leak mitral tricuspid pulmonary", "aortic_stenosis_moderate_or_greater_flag"),
    ("mild stenos mitral tricuspid pulmonary right", "aortic_regurgitation_moderate_or_greater_flag"),
    ("mild stenos aortic tricuspid pulmonary right", "mitral_regurgitation_moderate_or_greater_flag"),
    ("mild stenos aortic mitral pulmonary left", "tricuspid_regurgitation_moderate_or_greater_flag"),
    ("mild stenos aortic mitral tricuspid left", "pulmonary_regurgitation_moderate_or_greater_flag"),
    ("mild normal left", "rv_systolic_dysfunction_moderate_or_greater_flag"),
    ("small trivial pleural", "pericardial_effusion_moderate_large_flag"),
    ("normal mild systemic left", "pasp_gte_45_flag"),
    ("normal slow low mitral aortic", "tr_max_gte_32_flag"),
    ("normal mild", "shd_moderate_or_greater_flag"),
]
# Leads that face the territory of an infarct, ischemia or injury; texts of these classes may mention no others.
FACING = [
    ("ii iii avf", "IMI ISCI ISCIN INJIN"),
    ("i avl v5 v6", "LMI ISCLA INJLA"),
    ("v1 v2 v3 v4", "AMI ASMI ISCAN ISCAS INJAS"),
    ("i avl v3 v4 v5 v6", "ALMI ISCAL INJAL"),
    ("ii iii avf v5 v6", "ILMI ISCIL INJIL"),
    ("v1 v2 v3", "PMI"),
    ("ii iii avf v1 v2", "IPMI"),
    ("ii iii avf v1 v6", "IPLMI"),
]
ALL_LEADS = set("i ii iii avr avl avf v1 v2 v3 v4 v5 v6".split())
CHATTER = (
    r"https?|www|based on|let me|i (have|generated|would)|your|please|here (is|are)|certainly|sub ?types?|attributes?|input"
)
ADVICE = r"recommend\w*|should|consult\w*|refer|urgent\w*|follow up"
# Signs of the tracing that happen to be abbreviations of classes too (CSN's ST, CinC's PR).
SIGNS = {"st", "pr"}
USUAL_ABBREVIATIONS = (
    "af vt vf svt rvr lbbb rbbb lvh rvh lae rae lad rad pvc pvcs pac pacs nsr stemi nstemi mi lv rv la ra".split()
)
TEXTS = [
    (label_set, name, text) for label_set in label_sets() for name, texts in load_prompts(label_set).items() for text in texts
]


def classes_of(token):
    """(set, class) pairs that a token of ``FORBIDDEN`` means."""
    chosen, _, name = token.rpartition(":")
    sets = [chosen] if chosen else label_sets()
    return [(s, c) for s in sets for c in class_names(s) if c.rstrip("_") == name]


def forbidden_of():
    words = {}
    for stems, tokens in FORBIDDEN:
        for token in tokens.split():
            for key in classes_of(token):
                words.setdefault(key, []).extend(stems.split())
    return words


def has_phrase(text, phrase):
    return f" {phrase} " in f" {text} "


def test_every_token_of_the_table_means_a_class_and_every_class_is_in_it():
    assert [token for _, tokens in FORBIDDEN for token in tokens.split() if not classes_of(token)] == []
    assert {(s, c) for s in label_sets() for c in class_names(s)} - set(forbidden_of()) == set()


def test_no_text_has_a_word_of_its_opposite():
    words = forbidden_of()
    found = [(s, c, t, w) for s, c, t in TEXTS for w in words[s, c] if re.search(rf"\b{re.escape(w)}", t)]
    assert found == []


def test_no_name_has_a_word_of_its_opposite():
    words = forbidden_of()
    names = [(s, c, n) for s in label_sets() for c, (n,) in load_prompts(s, "name").items()]
    assert [(s, c, n, w) for s, c, n in names for w in words[s, c] if re.search(rf"\b{re.escape(w)}", n)] == []


def test_texts_about_a_territory_mention_only_the_leads_that_face_it():
    facing = {key: set(leads.split()) for leads, tokens in FACING for token in tokens.split() for key in classes_of(token)}
    mentioned = {key: set() for key in facing}
    for label_set, name, text in TEXTS:
        if (label_set, name) in facing:
            mentioned[label_set, name] |= ALL_LEADS & set(text.split())
    assert {key: leads - facing[key] for key, leads in mentioned.items() if leads - facing[key]} == {}
    assert all(mentioned.values())


def test_texts_and_names_look_like_normalised_reports():
    for label_set in label_sets():
        for texts in [*load_prompts(label_set).values(), *load_prompts(label_set, "name").values()]:
            for text in texts:
                assert normalise_report(text) == text
                assert re.fullmatch(r"[a-z0-9]+(\.[0-9]+)?( [a-z0-9]+(\.[0-9]+)?)*", text), text


def test_texts_of_absence_look_alike_and_are_of_no_class():
    sets = {label_set: absence_texts(label_set) for label_set in label_sets()}
    assert [label_set for label_set, texts in sets.items() if texts] == ["lvef", "echonext"]
    for label_set in ("lvef", "echonext"):
        assert list(sets[label_set]) == class_names(label_set)
        of_classes = {text for texts in load_prompts(label_set, "all").values() for text in texts}
        for texts in sets[label_set].values():
            assert len(set(texts)) == len(texts) >= 3 and not of_classes & set(texts)
            assert all(normalise_report(text) == text and 3 <= len(text.split()) <= 40 for text in texts)


def test_every_class_has_several_phrasings_of_three_to_forty_words():
    for label_set in label_sets():
        for name, texts in load_prompts(label_set).items():
            assert len(set(texts)) == len(texts) >= 4, (label_set, name)
    assert [(s, c, t) for s, c, t in TEXTS if not 3 <= len(t.split()) <= 40] == []


def test_some_text_of_every_class_is_a_sentence_like_phrase():
    for label_set in label_sets():
        for name, texts in load_prompts(label_set).items():
            assert max(len(text.split()) for text in texts) >= 7, (label_set, name)


@pytest.mark.parametrize("label_set", label_sets())
def test_no_two_classes_of_a_set_share_a_text_a_name_or_an_abbreviation(label_set):
    for kind in ("description", "name", "abbreviation"):
        counts = Counter(text.lower() for texts in load_prompts(label_set, kind).values() for text in texts)
        assert [text for text, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("label_set", label_sets())
def test_no_text_names_another_class_of_its_set(label_set):
    """A broader class may be named where its name is part of the narrower one's ("paroxysmal supraventricular ...")."""
    names = {name: text for name, (text,) in load_prompts(label_set, "name").items()}
    for name, texts in load_prompts(label_set).items():
        others = [other for other in names.values() if other != names[name] and not has_phrase(names[name], other)]
        assert [(name, text, other) for text in texts for other in others if has_phrase(text, other)] == []


def test_no_chatter_and_no_advice():
    assert [text for _, _, text in TEXTS if re.search(rf"\b({CHATTER}|{ADVICE})\b", text)] == []


def test_no_text_has_a_bare_abbreviation():
    given = {a for s in label_sets() for texts in load_prompts(s, "abbreviation").values() for a in texts}
    keys = {name for s in label_sets() for name in class_names(s)}
    bare = {normalise_report(text) for text in given | keys} - SIGNS | set(USUAL_ABBREVIATIONS)
    assert {"afib", "stach", "1avb", "prc s"} <= bare
    assert [(s, c, t, a) for s, c, t in TEXTS for a in bare if has_phrase(t, a)] == []


@pytest.mark.parametrize(
    "label_set, name, must_say",
    [
        ("csn", "AF", "flutter"),
        ("csn", "AFIB", "fibrillation"),
        ("code", "AF", "fibrillation"),
        ("cinc2021", "AF", "fibrillation"),
        ("csn", "CR", "clockwise"),
        ("csn", "CCR", "counterclockwise"),
        ("csn", "ST", "tachycardia"),
        ("csn", "TWO", "inversion"),
        ("cinc2021", "PR", "pacing"),
        ("cinc2021", "LAD", "left"),
    ],
)
def test_codes_that_mean_different_things_in_different_sets(label_set, name, must_say):
    assert any(must_say in text.split() for text in load_prompts(label_set)[name])
    assert must_say in load_prompts(label_set, "name")[name][0].split()
