"""Synthetic records of hearts with causes that a test chooses."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from preprocess.synthetic_ecg.labels import label, measure
from preprocess.synthetic_ecg.physiology.findings import Findings
from preprocess.synthetic_ecg.physiology.morphology import draw_beats, draw_intervals
from preprocess.synthetic_ecg.physiology.rhythm import draw_rhythm
from preprocess.synthetic_ecg.physiology.subjects import draw_subject
from preprocess.synthetic_ecg.record import Plan, plan_record


def plans_of(*causes: str, rhythm: str = "SR", rate: float = 70.0, count: int = 12, **more: Any) -> list[Plan]:
    """Plans of hearts with these causes and no other, one of each of ``count`` subjects, always the same ones.

    Args:
        causes: see :class:`Findings`.
        rhythm, rate, more: its other attributes.
        count: of plans.
    """
    findings, made = Findings(rhythm, rate, frozenset(causes), **more), []
    for i in range(count):
        rng, subject = np.random.default_rng([5, i]), draw_subject(5, i)
        intervals = draw_intervals(rng, findings, subject)
        beating = draw_rhythm(rng, findings, subject, intervals)
        beats = draw_beats(rng, findings, subject, beating, intervals)
        measured = measure(findings, beating, beats)
        labels = label(findings, beating, beats, measured, False, subject)
        plan = dataclasses.replace(plan_record(5, i, subject), rhythm=beating, beats=beats, measured=measured, swapped="")
        made.append(dataclasses.replace(plan, findings=dataclasses.replace(findings, labels=labels)))
    return made
