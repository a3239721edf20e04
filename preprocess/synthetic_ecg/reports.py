"""Reports as an electrocardiograph prints them: short statements that agree with what the record shows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Callable

import numpy as np

from cmelt_plugin.data.files import read_json
from preprocess.synthetic_ecg.findings import SINUS
from preprocess.synthetic_ecg.morphology import mean_axes
from preprocess.synthetic_ecg.record import Plan
from preprocess.synthetic_ecg.rhythm import PREMATURE_VENTRICULAR, SECONDS
from preprocess.synthetic_ecg.subjects import REPORT_STREAM

HERE = Path(__file__).parent
MAX_STATEMENTS = 18

# The first phrasing of a list is the common one; the k-th occurs about k**-EXPONENT as often (Zipf's law).
# Devices agree less on what to call a normal tracing.
EXPONENT, NORMAL_EXPONENT = 3.5, 1.8
# How often a finding that no label names is left unsaid.
UNSAID = 0.5


@cache
def phrases() -> dict:
    """Wordings by statement, the most frequent first."""
    return read_json(HERE / "phrases.json")


@cache
def _shares(count: int, exponent: float) -> np.ndarray:
    weights = np.arange(1, count + 1) ** -exponent
    return np.cumsum(weights / weights.sum())


def write_report(plan: Plan) -> list[str]:
    """Statements of one record: rhythm first, then findings, then the verdict; at most ``MAX_STATEMENTS``.

    Every labelled finding is named, nothing is named that the record does not show.
    """
    rng = np.random.default_rng([plan.seed, REPORT_STREAM, plan.index])
    findings = plan.findings
    normal = findings.labels == {"SR"} and not findings.minor

    def say(key: str, **words: object) -> str:
        wordings = phrases()[key]
        shares = _shares(len(wordings), NORMAL_EXPONENT if normal and key in {"SR", "normal"} else EXPONENT)
        text = wordings[min(int(np.searchsorted(shares, rng.random())), len(wordings) - 1)]
        text = text.format(**words) if words else text
        return text[0].upper() + text[1:]

    merged, rhythm = _rhythm(rng, plan, say)
    statements = [rhythm]
    said_minor = False
    for key in _secondary(plan):
        code = key.split("_")[0]
        if key in merged or (code in merged and code in findings.labels):
            said_minor |= key == "sinus_arrhythmia"
            continue
        minor = code not in findings.labels
        if minor and rng.random() < UNSAID:
            continue
        said_minor |= minor and key not in {"quality", "conduction_delay"}
        territory = findings.territory.get(code)
        statements.append(say(key, territory=territory) if territory else say(key))
        if code == "STE" and rng.random() < 0.20:
            statements.append(say("STE_more"))
    if rng.random() < 0.015:
        statements.append(say("remark"))
    if rng.random() < 0.98:
        statements.append(say(_verdict(plan, said_minor)))
    return _styled(rng, statements[:MAX_STATEMENTS])


def _rhythm(rng: np.random.Generator, plan: Plan, say: Callable[..., str]) -> tuple:
    """The first statement, and which other findings it already names."""
    findings = plan.findings
    key, words = findings.rhythm, {}
    if key == "AFIB":
        key += "_fast" if findings.rate > 100 else "_slow" if findings.rate < 60 else ""
    elif key == "BRADY" and findings.rate < 45:
        key = "BRADY_marked"
    elif key == "AFLT":
        words = {"ratio": findings.conduction}
    elif key == "PACED" and plan.beats.pr_interval:
        key = "PACED_tracked"
    rhythm = say(key, **words)
    merged: set[str] = set()
    if findings.rhythm in SINUS and "," not in rhythm:
        for code in ("PVC", "PAC", "AVB1"):
            if code in findings.labels and not merged and rng.random() < 0.90:
                rhythm, merged = say(code + "_rhythm", rhythm=rhythm), {code}
        if "sinus_arrhythmia" in findings.minor and not merged:
            rhythm, merged = say("sinus_arrhythmia", rhythm=rhythm), {"sinus_arrhythmia"}
    return merged, rhythm


def _secondary(plan: Plan) -> list[str]:
    """Keys of the statements after the rhythm, in the order in which machines give them."""
    findings = plan.findings
    present = set(findings.labels | findings.minor)
    _, qrs_axis, _ = mean_axes(plan.beats, plan.subject)
    if findings.rhythm != "PACED" and qrs_axis < -30:
        present.add("left_axis")
    elif findings.rhythm != "PACED" and qrs_axis > 100:
        present.add("right_axis")
    if plan.noise.disturbing:
        present.add("quality")
    if "PVC" in present:
        inside = (plan.rhythm.onset > 0) & (plan.rhythm.onset < SECONDS)
        if ((plan.rhythm.kind == PREMATURE_VENTRICULAR) & inside).sum() > 3:
            present = present - {"PVC"} | {"PVC_frequent"}
    if findings.strain:
        present = present - {"LVH", "STD", "TINV"} | {"LVH_strain"}
    return [key for key in _ORDER if key in present]


_ORDER = (
    *("PVC_frequent", "PVC", "PAC", "AVB1", "sinus_arrhythmia", "short_pr", "atrial_abnormality"),
    *("left_axis", "right_axis", "conduction_delay", "RBBB", "LBBB", "LVH_strain", "LVH"),
    *("inferior_q", "poor_r", "STE", "STD", "TINV", "flat_t", "long_qt", "LOWV", "quality"),
)


def _verdict(plan: Plan, said_minor: bool) -> str:
    others = plan.findings.labels - SINUS
    if others or plan.findings.minor & {"inferior_q", "poor_r"}:
        return "abnormal"
    if said_minor or plan.findings.minor - {"sinus_arrhythmia"}:
        return "borderline"
    return "normal" if plan.findings.rhythm == "SR" else "normal_rate"


def _styled(rng: np.random.Generator, statements: list[str]) -> list[str]:
    """Spelling and casing differ from one device to the next, not within a report."""
    spelling, casing = rng.random(2)
    if spelling < 0.08:
        statements = [text.replace("ECG", "EKG") for text in statements]
    if casing < 0.06:
        statements = [text.upper() for text in statements]
    elif casing < 0.10:
        statements = [text.lower() for text in statements]
    return statements
