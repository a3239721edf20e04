"""Which labels a record gets: its causes, and what is measured on its clean beat, by the criteria that the class texts
state."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from preprocess.synthetic_ecg.delineation import amplitudes
from preprocess.synthetic_ecg.physiology.findings import ELECTROLYTES, INFARCTS, INJURIES, ISCHAEMIAS, SINUS, Findings
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS, frontal_axis, twelve_leads
from preprocess.synthetic_ecg.physiology.morphology import Beats
from preprocess.synthetic_ecg.physiology.rhythm import (
    ESCAPE,
    JUNCTIONAL,
    PREMATURE_ATRIAL,
    PREMATURE_VENTRICULAR,
    SECONDS,
    VENTRICULAR,
    Rhythm,
)
from preprocess.synthetic_ecg.physiology.subjects import Subject

_RATE = 250
_ROW = {name: row for row, name in enumerate(MIMIC_LEADS)}
_WIDE = frozenset({"CLBBB", "CRBBB", "WPW", "PACE", "VT"})
_SIDES = (("II", "III", "aVF"), ("I", "aVL", "V5", "V6"), ("V1", "V2", "V3", "V4"), ("V4", "V5", "V6"))
# What beats that come from the ventricles do not hide.
_IN_ANY_BEAT = frozenset(
    {"PACE", "VT", "AFIB", "3AVB", "2AVB", "PAUSE", "BIGU", "TRIGU", "PVC", "PAC", "LAO/LAE", "RAO/RAE", "REVERSAL"}
)
# With nothing else a record is still a normal one.
_HARMLESS = SINUS | {"CR", "CCR", "ERV", "UW", "NORM", "SPR"}
_BEHIND = frozenset({"PMI", "IPMI", "IPLMI"})  # of what happens in the back wall V1 and V2 show the opposite
_CORNELL = {"M": 2.8, "F": 2.0}  # mV
SARRH_RANGE = 0.16  # s between the longest and the shortest sinus interval; texts say more than 0.12


@dataclass(frozen=True)
class Measured:
    """Of the record's ordinary beat: a conducted one where there are two, of ventricular and paced rhythms theirs.

    ``q``, ``r``, ``s``, ``st``, ``st60``, ``t`` are mV ``[12]`` in the order of ``MIMIC_LEADS``, ``q_width`` is in seconds: see
    :func:`~preprocess.synthetic_ecg.delineation.amplitudes`.

    ``rate`` is ventricular, beats a minute; intervals are ms (``pr`` 0 without P); ``qtc`` after Bazett; ``axis`` is the
    frontal one of the complex, ``t_axis`` and ``p_axis`` likewise (None without P); ``sokolow`` and ``cornell`` mV; ``limb``
    and ``chest`` the largest complex in those leads, mV; ``rr`` the intervals between complexes inside the record, s.
    """

    rate: int
    pr: int
    qrs: int
    qt: int
    qtc: int
    p: int
    axis: int
    t_axis: int
    p_axis: int | None
    q: np.ndarray
    r: np.ndarray
    s: np.ndarray
    st: np.ndarray
    st60: np.ndarray
    t: np.ndarray
    q_width: np.ndarray
    sokolow: float
    cornell: float
    limb: float
    chest: float
    rr: np.ndarray

    def leads(self, values: np.ndarray) -> list[str]:
        """Names of the leads for which ``values`` (bool ``[12]``) holds, in the order of the paper."""
        order = ("I", "II", "III", "aVR", "aVL", "aVF", *MIMIC_LEADS[6:])
        return [name for name in order if values[_ROW[name]]]


def measure(findings: Findings, rhythm: Rhythm, beats: Beats) -> Measured:
    """Measure the clean beat."""
    late = "CRBBB" in findings.causes  # then the axis is that of the left ventricle, which comes first
    kind = _ordinary_kind(findings, rhythm)
    bumps = beats.complexes[kind]
    ordinary = kind not in VENTRICULAR
    duration = beats.qrs_duration if ordinary else beats.ventricular_duration
    qt = beats.qt_interval + (0 if ordinary else 0.7 * max(duration - beats.qrs_duration, 0))
    time = np.arange(-0.02, 0.70, 1 / _RATE)
    beat = twelve_leads(bumps.leads.T @ bumps.values(time))
    first = int(0.02 * _RATE)
    at = {name: first + round(seconds * _RATE) for name, seconds in (("offset", duration), ("t_end", qt))}
    # delineation counts samples at 500 Hz behind the complex; here there are half as many
    fine = np.repeat(beat, 2, axis=1)
    sizes = amplitudes(fine, 2 * first, 2 * at["offset"], 2 * at["t_end"])
    qrs = beat[:, first : first + round(min(duration, 0.08) * _RATE) if late else at["offset"]]
    t_area = beat[:, at["offset"] + 10 : at["t_end"]]
    p_axis = None
    if beats.pr_interval:
        p_kind = int(np.bincount(rhythm.p_kind[rhythm.p_beat >= 0]).argmax())
        p = twelve_leads(beats.p_waves[p_kind].leads[:2].T)
        p_axis = round(_axis(p))
    onsets = rhythm.onset[(rhythm.onset > -0.05) & (rhythm.onset < SECONDS)]
    rr = np.diff(onsets)
    mean = float(rr.mean()) if len(rr) else float(rhythm.interval.mean())
    span = np.maximum(sizes["r"], 0) - np.minimum(np.minimum(sizes["q"], sizes["s"]), 0)
    lowest = np.minimum(sizes["q"], sizes["s"])
    return Measured(
        rate=round(60 / mean),
        pr=round(1000 * beats.pr_interval),
        qrs=round(1000 * duration),
        qt=round(1000 * qt),
        qtc=round(1000 * qt / np.sqrt(np.clip(mean, 0.35, 1.6))),
        p=round(1000 * beats.p_duration),
        axis=round(_axis(qrs)),
        t_axis=round(_axis(t_area)),
        p_axis=p_axis,
        **sizes,
        sokolow=float(max(sizes["r"][_ROW["V5"]], sizes["r"][_ROW["V6"]]) - lowest[_ROW["V1"]]),
        cornell=float(sizes["r"][_ROW["aVL"]] - lowest[_ROW["V3"]]),
        limb=float(span[:6].max()),
        chest=float(span[6:].max()),
        rr=rr,
    )


def _ordinary_kind(findings: Findings, rhythm: Rhythm) -> int:
    """The kind of beat that is measured."""
    inside = (rhythm.onset > 0) & (rhythm.onset < SECONDS)
    counts = np.bincount(rhythm.kind[inside] if inside.any() else rhythm.kind)
    conducted = [kind for kind in range(len(counts)) if kind not in VENTRICULAR]
    if findings.rhythm not in {"PACE", "VT"} and counts[conducted].sum() >= 2:
        return max(conducted, key=lambda kind: counts[kind])
    return int(counts.argmax())


def _axis(twelve: np.ndarray) -> float:
    return frontal_axis(twelve[_ROW["I"]].sum(), twelve[_ROW["aVF"]].sum())


def q_leads(m: Measured) -> np.ndarray:
    """bool ``[12]``: leads with a Q wave of 30 ms, 0.1 mV and a quarter of the R wave, or no R wave at all."""
    wide = (m.q_width >= 0.030) & (m.q <= -0.10) & (m.q <= -0.25 * m.r)
    found = wide | (m.r < 0.05) & (np.minimum(m.q, m.s) < -0.25)
    found[[_ROW["aVR"]]] = False
    found[_ROW["aVL"]] &= m.axis < 60  # of an upright heart aVL has little else
    return found


def inverted_leads(m: Measured) -> np.ndarray:
    """bool ``[12]``: leads with a T wave below −0.1 mV; aVR does not count."""
    found = m.t <= -0.10
    found[[_ROW["aVR"]]] = False
    return found


def flat_leads(m: Measured) -> np.ndarray:
    """bool ``[12]``: leads whose T wave is smaller than a tenth of a sizeable R wave."""
    return (np.abs(m.t) < np.minimum(0.1 * m.r, 0.12)) & (m.r > 0.5)


def depressed_leads(m: Measured) -> np.ndarray:
    """bool ``[12]``: leads whose ST segment, 60 ms after the complex, lies 0.05 mV or more below the line; aVR does not
    count."""
    found = m.st60 <= -0.05
    found[[_ROW["aVR"]]] = False
    return found


def raised_leads(m: Measured) -> np.ndarray:
    """bool ``[12]``: leads whose ST segment lies 0.1 mV or more above the line, in V2 and V3 0.2 mV (Thygesen and others,
    Fourth Universal Definition of Myocardial Infarction, 2018, for men of 40 and more)."""
    least = np.full(12, 0.10)
    least[[_ROW["V2"], _ROW["V3"]]] = 0.20
    found = m.st >= least
    found[[_ROW["aVR"]]] = False
    return found


def neighbours(found: np.ndarray) -> bool:
    """Whether two leads that lie side by side are among them."""
    return any(sum(bool(found[_ROW[name]]) for name in side) >= 2 for side in _SIDES)


def label(findings: Findings, rhythm: Rhythm, beats: Beats, m: Measured, disturbed: bool, subject: Subject) -> frozenset:
    """Labels of a record."""
    escaped = _ordinary_kind(findings, rhythm) in VENTRICULAR
    if escaped:  # what changes the conducted beats is not to be seen
        findings = replace(findings, causes=findings.causes & _IN_ANY_BEAT, stages={}, strain=False)
    causes = findings.causes
    found = set(causes) | {findings.rhythm}
    _rhythm_labels(found, findings, rhythm, m)
    electrolytes = causes & set(ELECTROLYTES)
    if electrolytes:
        found.add("EL")
    wide = bool(found & _WIDE)
    found -= {"LAD", "RAD", "LVOLT", "HVOLT", "CR", "CCR"}  # these are measured
    if findings.rhythm != "PACE" and not escaped and "REVERSAL" not in causes:
        _axis_labels(found, m, wide)
        _voltage_labels(found, causes, m, wide, subject)
        if not wide:
            _recovery_labels(found, m, causes)
    if beats.pr_interval and m.pr > 200 and not found & {"AFIB", "AFLT", "3AVB"}:
        found |= {"LPR"} | ({"1AVB"} if "2AVB" not in found else set())
    elif "1AVB" in found and m.pr <= 200:
        found.discard("1AVB")
    if "acute" in findings.stages.values() and (neighbours(raised_leads(m)) or found & _BEHIND):
        found.add("STEMI")
    if findings.strain:
        found.add("STRAIN")
    if "SPR" in found and m.pr >= 120:
        found.discard("SPR")
    if m.qtc > 470 and "HYPOCA" in causes:
        found.add("LNGQT")
    if disturbed:
        found.add("ARTEFACT")
    if found - {"ARTEFACT"} <= _HARMLESS and found & SINUS:
        found.add("NORM")
    return frozenset(found)


def _rhythm_labels(found: set, findings: Findings, rhythm: Rhythm, m: Measured) -> None:
    """Rhythms that exclude each other, and the beats that are inside the record."""
    inside = (rhythm.onset > 0.0) & (rhythm.onset < SECONDS - 0.15)
    kinds = set(rhythm.kind[inside].tolist())
    found -= {"PVC", "PAC"}
    if PREMATURE_VENTRICULAR in kinds:
        found |= {"PVC", "PRC(S)"}
    early = rhythm.p_kind[(rhythm.p_onset > 0) & (rhythm.p_onset < SECONDS - 0.15)]
    blocked_early = "PAC" in findings.causes and (early == 1).any()
    if findings.rhythm != "PSVT" and (PREMATURE_ATRIAL in kinds or blocked_early):
        found |= {"PAC", "PRC(S)"}
    if "PAUSE" in found:
        found |= ({"JEB"} if JUNCTIONAL in kinds else set()) | ({"VEB"} if ESCAPE in kinds else set())
        if not len(m.rr) or m.rr.max() < 1.5:
            found.discard("PAUSE")
    if findings.mode == "wenckebach":
        found.add("2AVB1")
    elif findings.mode == "mobitz":
        found.add("2AVB2")
    if findings.rhythm == "PACE":
        found.add({"A": "APACE", "D": "DPACE"}.get(findings.mode, "VPACE"))
        if findings.mode == "VAF":
            found.add("AFIB")
    if findings.rhythm in {"JR", "AT"}:
        found.add("SVARR")
    if findings.rhythm == "PSVT":
        found.add("SVTAC")
    if "BIGU" in found and findings.mode == "V":
        found.add("VB")
    # With ectopic beats or pauses the complexes may be as many as in an ordinary rhythm.
    if "SBRAD" in found and m.rate > 62 or "STACH" in found and m.rate < 98:
        found -= {"SBRAD", "STACH"}
        found.add("SR")
    # Sinus arrhythmia takes the place of an ordinary sinus rhythm.
    plain = findings.rhythm in {"SR", "SBRAD"} and not found & {"PVC", "PAC", "2AVB", "3AVB", "PAUSE", "BIGU", "TRIGU"}
    if plain and len(m.rr) > 2 and np.ptp(m.rr) > SARRH_RANGE:
        found.add("SARRH")
        found.discard("SR")
    if "3AVB" in found:
        found.discard("1AVB")


def _axis_labels(found: set, m: Measured, wide: bool) -> None:
    if m.axis < -30:
        found.add("LAD")
    elif m.axis > 95:
        found.add("RAD")
    v = {name: _ROW[name] for name in MIMIC_LEADS[6:]}
    lowest = np.minimum(m.q, m.s)
    if wide or "RVH" in found:
        return
    if m.r[v["V3"]] < 0.3 and m.r[v["V4"]] > m.r[v["V3"]] - 0.1 and not found & {"LVOLT"}:
        found.add("PRWP")
    if m.r[v["V5"]] < -lowest[v["V5"]]:
        found.add("CR")
    elif m.r[v["V2"]] > -lowest[v["V2"]] and not found & _BEHIND:
        found.add("CCR")


def _voltage_labels(found: set, causes: frozenset, m: Measured, wide: bool, subject: Subject) -> None:
    if m.limb < 0.5:
        found.add("LVOLT")
    if wide and "LVH" not in causes:
        return
    if m.sokolow >= 3.5 or m.cornell >= _CORNELL[subject.sex]:
        found.add("VCLVH")
    if m.limb > 2.3 or m.chest > 4.6 or ("HVOLT" in causes and m.sokolow >= 3.5):
        found.add("HVOLT")


def _recovery_labels(found: set, m: Measured, causes: frozenset) -> None:
    """Q, ST and T, where the complex is narrow."""
    q = q_leads(m)
    q[_ROW["III"]] &= bool(q[_ROW["II"]] and q[_ROW["aVF"]])  # alone, or with aVF alone, it says nothing
    if neighbours(q):
        found.add("QWAVE")
    # PTB-XL's machine says so of axes, small waves and infarcts alike ("QRS(T) abnormal").
    if found & {"QWAVE", "PRWP", "LVOLT", "LAD", "RAD"} or causes & {"IVCD", "RVH", *INFARCTS}:
        found.add("ABQRS")
    inverted = inverted_leads(m)
    away = inverted.copy()
    away[[_ROW["V1"], _ROW["III"]]] = False
    if away.sum() >= 2:
        found |= {"INVT", "TAB_"}
    elif flat_leads(m).sum() >= 3 or (flat_leads(m).sum() >= 2 and causes & {"NDT", "NT_"}):
        found |= {"LOWT", "TAB_"}
    if "HYPERK" in causes:
        found.add("TAB_")
    depressed = depressed_leads(m)
    if neighbours(depressed) and m.st60[depressed].min() <= -0.07:
        found.add("STD_")
    raised = raised_leads(m)
    if neighbours(raised):
        found.add("STE_")
    explained = causes & ({"PERI", "ERV", "ANEUR", "DIG"} | ISCHAEMIAS.keys() | INJURIES.keys())
    if found & {"STD_", "STE_"} and not explained and not found & {"STEMI", "LVH", "RVH"} and not causes & INFARCTS.keys():
        found.add("NST_")
