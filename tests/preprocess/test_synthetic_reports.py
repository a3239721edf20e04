"""Reports of synthetic records contradict neither the labels nor what is measured."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from preprocess.synthetic_ecg.labels import depressed_leads, flat_leads, inverted_leads, q_leads
from preprocess.synthetic_ecg.physiology.rhythm import PREMATURE_VENTRICULAR, SECONDS, SINUS_P
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import plan_record
from preprocess.synthetic_ecg.texts import reports

RECORDS = 2000
DRAWS, MOST = 8, 80  # reports of a record, and of how many records
REGULAR = r"(?<!ir)regular (sinus|rhythm)|(slow|fast) regular|regular (slow|fast) rate|p waves? .*(every|each) qrs"
NORMAL_RATE = r"between 60 and 100|rate within normal|normfrequent|normal sinus|\bnsr\b"
NUMBER = r"(sinus|\bnsr\b)[^|]*\d\d"


def of_labels(*codes):
    return lambda plan: bool(plan.findings.labels & set(codes))


def spikes(plan):
    """Whether there are atrial ones, and ventricular ones."""
    kinds = {bool(of_ventricle) for _, of_ventricle in plan.rhythm.spikes}
    return False in kinds, True in kinds


def changing(plan):
    """Whether flutter is conducted in a ratio that changes."""
    cycle = 60 / plan.findings.rate / max(plan.findings.conduction, 1)
    return plan.findings.rhythm == "AFLT" and np.ptp(plan.measured.rr) > 0.5 * cycle


def paroxysm(plan):
    sinus = plan.rhythm.p_onset[plan.rhythm.p_kind == SINUS_P]
    return plan.findings.rhythm == "PSVT" and bool(((sinus > 0) & (sinus < SECONDS - 0.15)).any())


# Which records, and what their reports must not say.
FORBIDDEN = {
    "blocks and pauses": (of_labels("2AVB", "3AVB", "PAUSE"), rf"{REGULAR}|{NORMAL_RATE}"),
    "atrial rate": (of_labels("2AVB", "3AVB"), NUMBER),
    "premature beats": (of_labels("PVC", "PAC", "BIGU", "TRIGU"), REGULAR),
    "groups of beats": (of_labels("BIGU", "TRIGU"), r"occasional|isolated|einzelne"),
    "atrial pacing": (
        lambda plan: plan.findings.rhythm == "PACE" and spikes(plan) == (True, False),
        r"ventricular[- ]pac|wide qrs|ventricular pacemaker|sequential|ventrikuläre schrittmacher",
    ),
    "ventricular pacing": (
        lambda plan: plan.findings.rhythm == "PACE" and spikes(plan) == (False, True),
        r"(?<!and )\batrial[- ]pac|each p wave|vorhofstimulation|atrial and ventricular pacemaker|sequential",
    ),
    "paced atria": (lambda plan: spikes(plan) == (True, True), r"atrial-sensed"),
    "fibrillation under pacing": (
        lambda plan: plan.findings.mode == "VAF",
        r"irregularly irregular|irregular ventricular|vary from beat|ventricular response|absolute arrhythmie",
    ),
    "legs": (lambda plan: plan.swapped not in {"", "left arm and right arm"}, r"\barm lead reversal"),
    "reversal": (of_labels("REVERSAL"), r"\bav[fl]\b|lead ii\b|axis -?\d|no (pathological|left vent|st elev|evid|acute)"),
    "rate unlike its name": (
        lambda plan: "SBRAD" in plan.findings.labels and plan.measured.rate >= 60
        or "STACH" in plan.findings.labels and plan.measured.rate <= 100,
        r"below 60|above 100|cardia (at|, rate)|kardie(, hf| mit)|(slow|fast) (heart|sinus|regular|rate)",
    ),
    "rate beyond limits": (
        lambda plan: "SR" in plan.findings.labels and not 60 <= plan.measured.rate <= 100,
        NORMAL_RATE,
    ),
    "ectopy": (
        of_labels("PVC", "PAC", "SVTAC", "AT", "VT", "JR", "VEB", "JEB", "AFIB", "AFLT", "PACE", "2AVB", "3AVB", "PAUSE"),
        r"no ectopy",
    ),
    "conduction": (
        lambda plan: plan.measured.qrs >= 120 or bool(plan.findings.labels & {"LPR", "SPR", "AFLT", "VT"}),
        r"no conduction abnormality",
    ),
    "scars": (of_labels("QWAVE", "ABQRS"), r"no evidence of ischaemia|no pathological q"),
    "changing flutter": (changing, r"\d:1|fixed ratio"),
    "fixed flutter": (lambda plan: plan.findings.rhythm == "AFLT" and not changing(plan), r"variable|wechselnde"),
    "paroxysm": (paroxysm, r"supraventricular tachycardia at|tachykardie mit|without visible sinus|hidden or not seen"),
    "whole tachycardia": (
        lambda plan: plan.findings.rhythm == "PSVT" and not paroxysm(plan),
        r"begins or ends|sudden onset|abrupt run",
    ),
    "wide": (of_labels("CLBBB", "CRBBB", "WPW"), r"narrow (qrs|complex)"),
    "no single PR interval": (
        of_labels("AFIB", "AFLT", "3AVB", "VT", "SVTAC", "JR", "VPACE", "DPACE"),
        r"\bp[rq] (interval (of )?)?\d",
    ),
    "hypertrophy and infarcts": (of_labels("LVH", "RVH", "IMI", "ASMI", "STEMI"), r"normal variant|may be normal|benign"),
    "explained ST": (of_labels("STEMI", "PERI", "ERV", "ANEUR", "STRAIN"), r"nonspecific st (segment )?(ele|dep)"),
    "few flat T waves": (lambda plan: flat_leads(plan.measured).sum() < 4, r"widespread t wave"),
    "few ST-T changes": (
        lambda plan: (inverted_leads(plan.measured) | depressed_leads(plan.measured)).sum() < 4,
        r"(widespread|extensive) st-t",
    ),
    "no Q waves": (
        lambda plan: plan.findings.stages and not q_leads(plan.measured).any(),
        r"(?<!no )pathological q|q waves suggest|shown by q waves|qs complexes",
    ),
    "large atria": (of_labels("LAO/LAE", "RAO/RAE"), r"(with|of|a) normal p wave|p waves of normal axis|upright p"),
    "no cause in the rate": (
        lambda plan: 60 <= plan.measured.rate <= 100,
        r"except for rate",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def plans():
    return [plan_record(7, index, draw_subject(7, index), balanced=True) for index in range(RECORDS)]


def draws(plan):
    """Reports that the record might have."""
    return [reports.write_report(replace(plan, index=plan.index + RECORDS * k)) for k in range(DRAWS)]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_reports_do_not_contradict(plans, name):
    concerned, words = FORBIDDEN[name]
    chosen = [plan for plan in plans if concerned(plan)]
    assert len(chosen) > 1
    texts = [("|".join(report).lower(), sorted(plan.findings.labels)) for plan in chosen[:MOST] for report in draws(plan)]
    wrong = [(text, labels) for text, labels in texts if re.search(words, text)]
    assert not wrong, (len(wrong), len(texts), wrong[0])


def test_counts_are_of_beats_inside_the_record(plans):
    found = 0
    for plan in [plan for plan in plans if "PVC" in plan.findings.labels]:
        inside = (plan.rhythm.onset > 0) & (plan.rhythm.onset < SECONDS - 0.15)
        beats = int((inside & (plan.rhythm.kind == PREMATURE_VENTRICULAR)).sum())
        for said in re.findall(r"(\d+) ventricular ectopic", "|".join(sum(draws(plan), [])).lower()):
            found += 1
            assert int(said) == beats
    assert found > 10


def test_class_texts_name_leads_that_show_it(plans):
    """Half of those named, at least."""
    shown = {
        "q waves": q_leads,
        "negative t": lambda m: inverted_leads(m) | depressed_leads(m),
        "st depression of": depressed_leads,
    }
    walls = {
        "ii iii and avf": ("II", "III", "aVF"),
        "v1 to v3": ("V1", "V2", "V3"),
        "i avl v5 and v6": ("I", "aVL", "V5", "V6"),
    }
    found = 0
    for plan in [plan for plan in plans if plan.findings.labels & {"QWAVE", "IMI", "ASMI", "LMI", "ISCIN", "ISCAS", "ISCLA"}]:
        for text in "|".join(sum(draws(plan)[:4], [])).lower().split("|"):
            for (wave, leads), (words, wall) in product(shown.items(), walls.items()):
                if wave in text and "small" not in text and re.search(rf"(in|leads) {words}$", text):
                    found += 1
                    assert 2 * len(set(plan.measured.leads(leads(plan.measured))) & set(wall)) >= len(wall), text
    assert found > 20


def test_every_rhythm_and_block_is_still_said(plans):
    """There are words for them that claim nothing else."""
    said = {
        "3AVB": r"complete heart block|complete av block|third degree|3rd degree|dissociated|iii\. grades|totaler",
        "AFLT": "flutter|vorhofflattern",
        "PACE": "pac(ed|ing|emaker)|schrittmacher",
        "REVERSAL": "revers|exchanged|vertauschung",
        "SBRAD": "bradycardia|bradykardie|slow|below 60",
    }
    for code, words in said.items():
        chosen = [plan for plan in plans if code in plan.findings.labels][:30]
        assert len(chosen) > 15
        for plan in chosen:
            assert all(re.search(words, "|".join(report).lower()) for report in draws(plan)), (code, draws(plan))
