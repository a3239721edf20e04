"""Reports as electrocardiographs print them and as clinicians write them; all agree with the labels and with what is measured.

A record's report is in one style: a machine's statements, a clinician's sentences with leads and numbers, German ones, or the
words of our class texts, which describe what a finding looks like. Nothing is named that the record does not show, and nothing
denied that it does (``claims.py`` says what wordings claim); of what follows from other findings some goes unsaid, as in
hospitals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Callable

import numpy as np

from cmelt_plugin.data.files import read_json
from preprocess.synthetic_ecg.labels import depressed_leads, flat_leads, inverted_leads, q_leads, raised_leads
from preprocess.synthetic_ecg.physiology.findings import INFARCTS, INJURIES, ISCHAEMIAS, SINUS
from preprocess.synthetic_ecg.physiology.rhythm import PREMATURE_VENTRICULAR
from preprocess.synthetic_ecg.physiology.subjects import REPORT_STREAM
from preprocess.synthetic_ecg.record import Plan
from preprocess.synthetic_ecg.texts.claims import (
    DROPPED,
    ECTOPIC,
    changed_leads,
    count_inside,
    fits,
    flutter_ratio,
    has_pr,
    wall_of,
)
from preprocess.synthetic_ecg.texts.classes import descriptions, wider

HERE = Path(__file__).parent
MAX_STATEMENTS = 18
STYLES = {"machine": 0.37, "clinician": 0.25, "german": 0.08, "descriptive": 0.30}
# The first phrasing of a list is the common one; the k-th occurs about k**-EXPONENT as often (Zipf's law).
EXPONENT = 1.3
# How often a statement is left out of what follows from a cause or is of little weight.
UNSAID = {
    **dict.fromkeys(("ABQRS", "TAB_", "PRC(S)", "EL", "STEMI", "VB", "APACE", "VPACE", "DPACE"), 0.7),
    **dict.fromkeys(("LPR", "QWAVE", "VCLVH", "HVOLT", "CR", "CCR", "SPR", "NST_", "PRWP"), 0.45),
    **dict.fromkeys(("STE_", "STD_", "INVT", "LOWT", "2AVB1", "2AVB2", "UW", "LAD", "RAD", "ARTEFACT"), 0.2),
}
# What says another label, too; then that one is rarely repeated.
_IMPLIED = {
    "LPR": ("1AVB",),
    "LAD": ("LAFB",),
    "RAD": ("LPFB", "RVH"),
    "SVARR": ("JR", "AT"),
    "SVTAC": ("PSVT",),
    "VCLVH": ("LVH",),
    "PRC(S)": ("PVC", "PAC"),
    "STEMI": tuple(INFARCTS),
    "LVH": ("STRAIN",),
    "RVH": ("STRAIN",),
    "2AVB": ("2AVB1", "2AVB2"),
    "PVC": ("VB",),
    "AFIB": ("VPACE",),
}
_ORDER = (
    *("PACE", "VT", "SVTAC", "PSVT", "AFLT", "AFIB", "AT", "JR", "SVARR", "SR", "SBRAD", "STACH", "SARRH"),
    *(
        "APACE",
        "VPACE",
        "DPACE",
        "3AVB",
        "2AVB",
        "2AVB1",
        "2AVB2",
        "BIGU",
        "VB",
        "TRIGU",
        "PVC",
        "PAC",
        "PRC(S)",
        "PAUSE",
        "JEB",
    ),
    *(
        "VEB",
        "1AVB",
        "LPR",
        "SPR",
        "LAO/LAE",
        "RAO/RAE",
        "WPW",
        "LAD",
        "RAD",
        "LAFB",
        "LPFB",
        "CLBBB",
        "CRBBB",
        "IRBBB",
        "ILBBB",
    ),
    *(
        "IVCD",
        "LVH",
        "VCLVH",
        "RVH",
        "STRAIN",
        "SEHYP",
        "LVOLT",
        "HVOLT",
        "PRWP",
        "CR",
        "CCR",
        *INFARCTS,
        "STEMI",
        "QWAVE",
        "ABQRS",
    ),
    *(
        *INJURIES,
        *ISCHAEMIAS,
        "ANEUR",
        "PERI",
        "ERV",
        "STE_",
        "STD_",
        "NST_",
        "INVT",
        "LOWT",
        "NDT",
        "NT_",
        "TAB_",
        "DIG",
        "LNGQT",
    ),
    *("EL", "HYPERK", "HYPOK", "HYPERCA", "HYPOCA", "UW", "REVERSAL", "ARTEFACT"),
)
_RHYTHMS = frozenset(_ORDER[:13])
_GERMAN = {
    "anteroseptal": "anteroseptaler", "anterior": "anteriorer", "anterolateral": "anterolateraler", "lateral": "lateraler",
    "inferior": "inferiorer", "inferolateral": "inferolateraler", "posterior": "posteriorer", "diffuse": "diffuser",
    "inferoposterior": "inferoposteriorer", "inferoposterolateral": "inferoposterolateraler",
}  # fmt: skip
_SWAPPED_DE = {
    "left arm and right arm": "rechter Arm und linker Arm",
    "left arm and left leg": "linker Arm und linkes Bein",
    "right arm and left leg": "rechter Arm und linkes Bein",
}
# What may be denied, and the labels of which none may be there.
_REPOLARISED = {"STE_", "STD_", "NST_", "INVT", "LOWT", "NDT", "NT_", "TAB_", "DIG", "PERI", "ERV", "STRAIN", "ANEUR", "EL"}
_REPOLARISED |= {"CLBBB", "CRBBB", "WPW", "PACE", "VT", "STEMI", *INJURIES, *ISCHAEMIAS, *INFARCTS}
_BLOCKS = {"1AVB", "2AVB", "3AVB", "CLBBB", "CRBBB", "IRBBB", "ILBBB", "IVCD", "LAFB", "LPFB"}
_UNMEASURED = {"PACE", "VT", "REVERSAL"}  # no label says what their complexes look like
_DENIALS = (
    ("No acute ST-T changes", _REPOLARISED | _UNMEASURED),
    ("No ST elevation", {"STE_", "STEMI", "ERV", "PERI", "ANEUR", "CLBBB", "CRBBB", "WPW", *_UNMEASURED, *INFARCTS}),
    ("No evidence of ischaemia", {"QWAVE", "ABQRS", *_REPOLARISED, *_UNMEASURED}),
    ("No pathological Q waves", {"QWAVE", "ABQRS", "WPW", "CLBBB", "CRBBB", "SEHYP", *_UNMEASURED, *INFARCTS}),
    ("No ectopy", {*ECTOPIC, *DROPPED, "AFIB", "AFLT", "PACE", "VT", "SVARR", "SVTAC", "PSVT", "AT", "JR"}),
    (
        "No conduction abnormality",
        {*_BLOCKS, "LPR", "SPR", "WPW", "PACE", "VT", "AFLT", "VEB", "JEB"},
    ),
    ("No left ventricular hypertrophy", {"LVH", "VCLVH", "HVOLT", "CLBBB", "CRBBB", "WPW", "STRAIN", *_UNMEASURED}),
)


@cache
def phrases() -> dict:
    """Wordings by statement and style, the most frequent first."""
    return read_json(HERE / "phrases.json")


@cache
def _shares(count: int) -> np.ndarray:
    weights = np.arange(1, count + 1) ** -EXPONENT
    return np.cumsum(weights / weights.sum())


def write_report(plan: Plan) -> list[str]:
    """Statements of one record: rhythm first, then findings, then the verdict; at most ``MAX_STATEMENTS``."""
    rng = np.random.default_rng([plan.seed, REPORT_STREAM, plan.index])
    labels = plan.findings.labels
    style = str(rng.choice(list(STYLES), p=list(STYLES.values())))
    words = cache(lambda: _words(plan))  # few statements need them

    def say(key: str, **more: str) -> str:
        text = _drawn(rng, plan, phrases()[key]["machine" if style == "descriptive" else style])
        if "{" in text:
            text = text.format(**{**words(), **more})
        return text[:1].upper() + text[1:]

    statements: list[str] = []
    if style == "clinician" and rng.random() < 0.35 or style == "machine" and rng.random() < 0.12:
        statements += _numbers(rng, plan)
    present = [code for code in _ORDER if code in labels]
    for code in present:
        implied = any(other in labels for other in _IMPLIED.get(code, ()))
        if rng.random() < (0.75 if implied else UNSAID.get(code, 0.0)) and code not in _RHYTHMS:
            continue
        if implied and code in {"SVARR", "SVTAC"} and rng.random() < 0.7:
            continue
        described = _described(rng, plan, code) if style == "descriptive" and rng.random() < 0.75 else None
        statements.append(described or _stated(plan, code, say))
    statements += _widely(rng, plan, {"descriptive": 0.35, "clinician": 0.05, "machine": 0.05}.get(style, 0.0))
    remarked = style == "machine" and rng.random() < 0.06 or style == "clinician" and rng.random() < 0.10
    if remarked:
        statements.append(say("remark"))
    statements.append(_verdict(rng, plan, style, say))
    if style == "machine" and len(statements) < MAX_STATEMENTS and rng.random() < 0.02 and not remarked:
        statements.append(say("remark"))
    # A denial comes last: what follows it could be read as denied, too.
    chance = {"clinician": 0.40, "descriptive": 0.15, "machine": 0.04}.get(style, 0.0)
    for text, excluding in _DENIALS:
        if rng.random() < 0.35 * chance and not labels & excluding and fits(plan, text):
            statements.append(text)
    return _styled(rng, style, list(dict.fromkeys(text for text in statements if text))[:MAX_STATEMENTS])


def _drawn(rng: np.random.Generator, plan: Plan, wordings: list[str]) -> str:
    """One of the wordings that fit the record, the first more often; an empty text where none does."""
    while wordings:
        text = wordings[min(int(np.searchsorted(_shares(len(wordings)), rng.random())), len(wordings) - 1)]
        if fits(plan, text):
            return text
        wordings = [one for one in wordings if fits(plan, one)]  # only now: most first draws fit
    return ""


def _drawn_evenly(rng: np.random.Generator, plan: Plan, texts: Sequence[str]) -> str:
    """One of the texts that fit the record; an empty one where none does."""
    while texts:
        text = texts[int(rng.integers(len(texts)))]
        if fits(plan, text):
            return text[0].upper() + text[1:]
        texts = [one for one in texts if fits(plan, one)]
    return ""


def _stated(plan: Plan, code: str, say: Callable[..., str]) -> str:
    """A statement on one label in the words of the style."""
    territory = INFARCTS.get(code) or INJURIES.get(code) or (ISCHAEMIAS[code] if code in ISCHAEMIAS and code != "ISC_" else "")
    if not territory:
        return say(code)
    stage = plan.findings.stages.get(code, "")
    key = {"acute": "MI_acute", "recent": "MI_recent", "old": "MI"}[stage] if stage else "INJ" if code in INJURIES else "ISC"
    german = _GERMAN[territory]
    forms = {
        "territory": territory,
        "Territory": territory.capitalize(),
        "territory_de": german,
        "Territory_de": german.capitalize(),
    }
    return say(key, **forms)


def _described(rng: np.random.Generator, plan: Plan, code: str) -> str | None:
    """One of the class texts of a label; None where it has none that fits."""
    texts = descriptions().get(code, ())
    stage = plan.findings.stages.get(code, "")
    if stage:
        banned = ("old", "undetermined", "loss") if stage == "acute" else ("acute",)
        texts = [text for text in texts if not any(word in text.split() for word in banned)]
    if code in {"LVH", "RVH"} and not plan.findings.strain:
        texts = [text for text in texts if "strain" not in text and "repolarization" not in text]
    return _drawn_evenly(rng, plan, texts) or None


def _widely(rng: np.random.Generator, plan: Plan, chance: float) -> list[str]:
    """Up to two texts on classes that a finding belongs to, each with ``chance``."""
    stages = plan.findings.stages
    said: list[str] = []
    for entry in wider():
        labels = plan.findings.labels.intersection(entry["labels"])
        if not labels or (entry["old"] and "acute" in {stages.get(code) for code in labels}):
            continue
        if len(said) < 2 and rng.random() < chance:
            said.append(_drawn_evenly(rng, plan, entry["texts"]))
    return said


def _words(plan: Plan) -> dict[str, str]:
    """What statements may name: numbers, leads, sides."""
    m, findings = plan.measured, plan.findings
    q, inverted, flat = q_leads(m), inverted_leads(m), flat_leads(m)
    depressed, raised = depressed_leads(m), raised_leads(m)
    return {
        "rate": str(m.rate),
        "pr": str(m.pr),
        "qrs": str(m.qrs),
        "qt": str(m.qt),
        "qtc": str(m.qtc),
        "axis": str(m.axis),
        "ratio": str(flutter_ratio(plan)),
        "response": "rapid" if m.rate > 100 else "slow" if m.rate < 60 else "controlled",
        "count": str(count_inside(plan, PREMATURE_VENTRICULAR)),
        "pause": f"{m.rr.max():.1f}" if len(m.rr) else "2",
        "sokolow": f"{m.sokolow:.1f}",
        "limb": f"{m.limb:.2f}",
        "side": "Right ventricular hypertrophy" if "RVH" in findings.labels else "Left ventricular hypertrophy",
        "swapped": plan.swapped,
        "swapped_de": _SWAPPED_DE.get(plan.swapped, ""),
        "q": _listed(m.leads(q)),
        "t": _listed(m.leads(inverted)),
        "flat": _listed(m.leads(flat)),
        "std": _listed(m.leads(depressed)),
        "st": _listed(m.leads(raised)),
        "changed": _listed(m.leads(changed_leads(m))),
        "Q_territory": wall_of(m.leads(q)),
        "T_territory": wall_of(m.leads(inverted)),
        "Std_territory": wall_of(m.leads(depressed)),
    }


def _listed(leads: list[str]) -> str:
    """ "II, III, aVF, V4-V6"."""
    chest = [int(name[1]) for name in leads if name[0] == "V"]
    parts = [name for name in leads if name[0] != "V"]
    if len(chest) > 2 and chest[-1] - chest[0] == len(chest) - 1:
        parts.append(f"V{chest[0]}-V{chest[-1]}")
    else:
        parts += [f"V{number}" for number in chest]
    return ", ".join(parts) if parts else "several leads"


def _numbers(rng: np.random.Generator, plan: Plan) -> list[str]:
    m = plan.measured
    parts = [f"Ventricular rate {m.rate} bpm"]
    if has_pr(plan):
        parts.append(f"PR interval {m.pr} ms")
    parts += [f"QRS duration {m.qrs} ms", f"QT/QTc {m.qt}/{m.qtc} ms"]
    if rng.random() < 0.5 and not plan.swapped:
        parts.append(f"QRS axis {m.axis}")
    return [", ".join(parts)] if rng.random() < 0.5 else parts[: 1 + int(rng.integers(len(parts)))]


def _verdict(rng: np.random.Generator, plan: Plan, style: str, say: Callable[..., str]) -> str:
    labels = plan.findings.labels
    if {"NORM", "SR"} <= labels and style == "descriptive" and rng.random() < 0.6:
        return _described(rng, plan, "NORM") or ""
    if "NORM" in labels:
        plain = labels & {"SR"} and labels <= {"SR", "NORM", "ARTEFACT"}
        return say("NORM" if plain or rng.random() < 0.3 else "otherwise")
    if rng.random() < (0.15 if style == "machine" else 0.55):
        return ""
    slight = {
        "LAD",
        "RAD",
        "PAC",
        "PVC",
        "PRC(S)",
        "NT_",
        "NST_",
        "LOWT",
        "TAB_",
        "PRWP",
        "VCLVH",
        "HVOLT",
        "IRBBB",
        "LPR",
        "1AVB",
    }
    return say("borderline" if labels - SINUS - {"CR", "CCR", "ERV", "UW", "SPR", "ARTEFACT"} <= slight else "abnormal")


def _styled(rng: np.random.Generator, style: str, statements: list[str]) -> list[str]:
    """Spelling and casing differ from one device to the next, not within a report."""
    spelling, casing = rng.random(2)
    if spelling < 0.08 and style != "german":
        statements = [text.replace("ECG", "EKG") for text in statements]
    if casing < 0.06:
        statements = [text.upper() for text in statements]
    elif casing < 0.14:
        statements = [text.lower() for text in statements]
    return statements
