"""What is the matter with a synthetic heart: how often each cause occurs, and which exclude each other.

A *cause* changes the heart, its rhythm or what the electrodes add. *Labels* say what the record then shows: the causes, and
what follows from them and is measured (``labels.py``): a Q wave, an inverted T wave, the axis. Both go by the names of our
label sets (``cmelt_plugin/prompts``): PTB-XL's statements, then CSN's and the challenge's; only what none of them names has
names of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SINUS = frozenset({"SR", "SBRAD", "STACH", "SARRH"})

# Causes that last, and their shares in subjects of about 60 years before exclusion; the second number is how strongly the share
# grows with age (e-fold in so many decades: 0 = not).
CHRONIC = {
    "PACE": (0.026, 0.6),
    "AFIB": (0.070, 0.6),
    "3AVB": (0.004, 0.4),
    "WPW": (0.006, -0.4),
    "CLBBB": (0.030, 0.5),
    "CRBBB": (0.036, 0.4),
    "ILBBB": (0.008, 0.3),
    "IRBBB": (0.045, -0.1),
    "IVCD": (0.028, 0.3),
    "LAFB": (0.055, 0.4),
    "LPFB": (0.009, 0.2),
    "1AVB": (0.045, 0.5),
    "LVH": (0.095, 0.2),
    "RVH": (0.010, 0.0),
    "SEHYP": (0.004, 0.0),
    "LAO/LAE": (0.030, 0.3),
    "RAO/RAE": (0.011, 0.0),
    "IMI": (0.060, 0.3),
    "ASMI": (0.055, 0.3),
    "AMI": (0.022, 0.3),
    "ALMI": (0.014, 0.3),
    "ILMI": (0.020, 0.3),
    "LMI": (0.012, 0.3),
    "PMI": (0.004, 0.3),
    "IPMI": (0.004, 0.3),
    "IPLMI": (0.004, 0.3),
    "LAD": (0.045, 0.2),
    "RAD": (0.014, -0.3),
    "LVOLT": (0.022, 0.2),
    "HVOLT": (0.012, -0.6),
    "ERV": (0.030, -0.8),
    "CR": (0.030, 0.1),
    "CCR": (0.025, 0.0),
    "LNGQT": (0.010, 0.0),
}
# Causes of one record.
EPISODIC = {
    "AFLT": 0.016,
    "SVTAC": 0.007,
    "PSVT": 0.004,
    "AT": 0.006,
    "SVARR": 0.010,
    "JR": 0.007,
    "VT": 0.004,
    "2AVB": 0.008,
    "PAUSE": 0.007,
    "BIGU": 0.007,
    "TRIGU": 0.005,
    "PVC": 0.060,
    "PAC": 0.050,
    "INJAS": 0.008,
    "INJAL": 0.007,
    "INJIN": 0.004,
    "INJLA": 0.004,
    "INJIL": 0.004,
    "ISC_": 0.055,
    "ISCAL": 0.030,
    "ISCIN": 0.014,
    "ISCIL": 0.012,
    "ISCAS": 0.014,
    "ISCLA": 0.012,
    "ISCAN": 0.010,
    "ANEUR": 0.006,
    "PERI": 0.005,
    "DIG": 0.012,
    "HYPERK": 0.005,
    "HYPOK": 0.007,
    "HYPERCA": 0.003,
    "HYPOCA": 0.003,
    "NDT": 0.060,
    "NT_": 0.030,
    "NST_": 0.040,
    "UW": 0.012,
    "SPR": 0.010,
    "REVERSAL": 0.008,
}
TACHY_SHARE, BRADY_SHARE = 0.06, 0.02  # beyond those whose own rate is beyond 100 or 60

INFARCTS = {
    "IMI": "inferior",
    "ASMI": "anteroseptal",
    "AMI": "anterior",
    "ALMI": "anterolateral",
    "ILMI": "inferolateral",
    "LMI": "lateral",
    "PMI": "posterior",
    "IPMI": "inferoposterior",
    "IPLMI": "inferoposterolateral",
}
INJURIES = {
    "INJAS": "anteroseptal",
    "INJAL": "anterolateral",
    "INJIN": "inferior",
    "INJLA": "lateral",
    "INJIL": "inferolateral",
}
ISCHAEMIAS = {
    "ISC_": "diffuse",
    "ISCAL": "anterolateral",
    "ISCIN": "inferior",
    "ISCIL": "inferolateral",
    "ISCAS": "anteroseptal",
    "ISCLA": "lateral",
    "ISCAN": "anterior",
}
ELECTROLYTES = ("HYPERK", "HYPOK", "HYPERCA", "HYPOCA")
# Of several causes of one row the first is kept: they contradict each other, or one hides the other in the signal.
_ONE_OF = (
    ("PACE", "VT", "SVTAC", "PSVT", "AFLT", "3AVB", "2AVB", "AT", "JR", "SVARR", "AFIB", "PAUSE"),
    ("PACE", "VT", "WPW", "CLBBB", "CRBBB", "ILBBB", "IVCD", "IRBBB", "SEHYP"),
    ("VT", "WPW", "CLBBB", "ILBBB", "PACE", "LAFB", "LPFB", "RVH", "LAD", "RAD"),
    ("PACE", "VT", "CLBBB", "WPW", "LVH", "RVH", "LVOLT", "HVOLT"),
    ("PACE", "VT", "WPW", "CLBBB", "RVH", "CR", "CCR"),
    ("PACE", "VT", "CLBBB", "WPW", "SEHYP", *INJURIES, *ISCHAEMIAS, "PERI", "DIG", *ELECTROLYTES, "ERV", "NDT", "NT_", "NST_"),
    ("PACE", "VT", "CLBBB", "WPW", "ILBBB", "RVH", "HVOLT", *INFARCTS),
    ("PACE", "VT", "AFIB", "AFLT", "SVTAC", "PSVT", "JR", "AT", "3AVB", "SVARR", "LAO/LAE", "RAO/RAE"),
    ("PACE", "VT", "AFIB", "AFLT", "SVTAC", "PSVT", "JR", "AT", "3AVB", "2AVB", "SVARR", "WPW", "1AVB", "SPR"),
    ("PACE", "VT", "SVTAC", "PSVT", "AFLT", "3AVB", "2AVB", "PAUSE", "BIGU", "TRIGU", "PVC"),
    ("PACE", "VT", "SVTAC", "PSVT", "AFLT", "AFIB", "3AVB", "2AVB", "PAUSE", "AT", "JR", "SVARR", "BIGU", "TRIGU", "PAC"),
    ("PACE", "VT", "SVTAC", "AFLT", "CLBBB", "WPW", "HYPERK", "HYPERCA", "DIG", "HYPOCA", "LNGQT"),
    ("AFLT", "VT", "SVTAC", "PACE", "HYPOK", "UW"),
    ("LVOLT", "PERI", "LVH", "ERV"),
    ("ANEUR", *INJURIES, *ISCHAEMIAS, "PERI", "ERV"),
)
# What leads to what: cause, its consequence, chance.
_LEADS_TO = (
    ("LVH", "LAO/LAE", 0.15),
    ("LVH", "LAD", 0.12),
    ("RVH", "RAO/RAE", 0.30),
    ("AFIB", "DIG", 0.06),
    ("CRBBB", "LAFB", 0.16),
    ("IMI", "ISC_", 0.10),
    ("ASMI", "ISCAL", 0.10),
    ("HYPOK", "PVC", 0.15),
    ("ISC_", "LVH", 0.3),
    ("IMI", "ASMI", 0.12),
    ("ASMI", "LAFB", 0.18),
    ("AMI", "LAFB", 0.12),
    ("ANEUR", "ASMI", 1.0),
)


# What leads in a balanced cohort: each cause once, those that most label sets name more often, a healthy heart even more.
_LEADING = (
    *CHRONIC,
    *EPISODIC,
    *("STACH", "PACE", "AFIB", "AFLT", "CLBBB", "CRBBB", "LVH", "LAFB", "1AVB", "IMI", "ASMI", "ISC_", "LVOLT"),
    *("STACH", "STACH", "PACE", "SBRAD", "SBRAD"),
    *["SR"] * 14,
)


@dataclass(frozen=True)
class Findings:
    """What one record shows.

    ``rhythm`` is the basic one; ``rate`` is ventricular, in beats per minute; ``causes`` were drawn; ``labels`` are complete
    once the beats are there to be measured. ``stages`` gives each infarct's (``acute``, ``recent``, ``old``); ``mode`` is a
    variant of the rhythm (pacing: ``V``, ``A``, ``D``; block: ``wenckebach``, ``mobitz``, ``2:1``); ``conduction`` the
    flutter's atrial-to-ventricular ratio (0 otherwise); ``severity`` (0 to 1) is how far causes have gone; ``strain`` that LVH
    or RVH changes ST and T.
    """

    rhythm: str
    rate: float
    causes: frozenset = frozenset()
    labels: frozenset = frozenset()
    stages: dict = field(default_factory=dict)
    mode: str = ""
    conduction: int = 0
    severity: float = 0.5
    strain: bool = False


def draw_chronic(rng: np.random.Generator, burden: float, age: float) -> frozenset:
    """The causes that a subject has in most of their records; ``burden`` scales their shares, whatever the age."""
    decades = (age - 60) / 10
    return frozenset(
        code
        for code, (share, growth) in CHRONIC.items()
        if rng.random() < share * min(np.exp(growth * decades / 2), 4) * burden
    )


def draw_findings(
    rng: np.random.Generator, chronic: frozenset, burden: float, usual_rate: float, balanced: bool = False
) -> Findings:
    """Draw one record's causes; labels that have to be measured are still missing.

    Args:
        rng: of the record.
        chronic: what the subject has.
        burden: scales all shares.
        usual_rate: of the subject's sinus node, beats a minute.
        balanced: instead of shares as in hospitals one of ``_LEADING`` leads.
    """
    wanted = {code for code in CHRONIC if (rng.random() < 0.94) and code in chronic}
    wanted |= {code for code, share in EPISODIC.items() if rng.random() < share * burden}
    first = None
    tachycardia, bradycardia = rng.random(2) < (TACHY_SHARE, BRADY_SHARE)
    if balanced:
        first = _LEADING[int(rng.integers(len(_LEADING)))]
        wanted = {code for code in sorted(wanted) if rng.random() < 0.35} | ({first} - {"STACH", "SBRAD", "SR"})
        tachycardia, bradycardia = first == "STACH", first == "SBRAD"
        if first == "SR":
            wanted = set()
        if not bradycardia and usual_rate < 61:
            usual_rate = 122 - usual_rate
    for cause, consequence, chance in _LEADS_TO:
        if rng.random() < chance and cause in wanted:
            wanted.add(consequence)
    causes = _compatible(wanted, first)
    rhythm = next((code for code in _ONE_OF[0] if code in causes and code not in {"2AVB", "PAUSE", "3AVB"}), "")
    mode, conduction = "", 0
    if rhythm == "PACE":
        mode = _choose(rng, {"V": 0.40, "D": 0.38, "A": 0.10, "VAF": 0.12})
    elif rhythm == "AFLT":
        conduction = _choose(rng, {2: 0.45, 3: 0.13, 4: 0.42})
    elif rhythm == "SVARR":
        mode = _choose(rng, {"ectopic": 0.5, "wandering": 0.3, "multifocal": 0.2})
    elif "2AVB" in causes:
        mode = _choose(rng, {"wenckebach": 0.55, "mobitz": 0.25, "2:1": 0.20})
    elif causes & {"BIGU", "TRIGU"}:
        mode = _choose(rng, {"V": 0.7, "A": 0.3})
    if not rhythm:
        if tachycardia and not causes & {"2AVB", "3AVB", "PAUSE", "1AVB", "UW", "LNGQT", "BIGU"}:
            usual_rate = 101 + rng.gamma(1.6, 9.0)
        elif bradycardia:
            usual_rate = 59 - rng.gamma(1.6, 4.0)
        rhythm = "STACH" if usual_rate > 100 else "SBRAD" if usual_rate < 60 else "SR"
    rate = _draw_rate(rng, rhythm, mode, conduction, usual_rate, causes)
    if rhythm in {"SR", "SBRAD", "STACH"}:
        rhythm = "STACH" if rate > 100 else "SBRAD" if rate < 60 else "SR"
    stages = {code: _choose(rng, {"acute": 0.13, "recent": 0.15, "old": 0.72}) for code in sorted(causes & INFARCTS.keys())}
    if "ANEUR" in causes:
        stages = dict.fromkeys(stages, "old")
    strain = bool(rng.random() < 0.55 and causes & {"LVH", "RVH"})
    strain = strain and not causes & {*INJURIES, *ISCHAEMIAS, "PERI", "DIG", "ERV", "NDT", "NT_", "NST_"}
    return Findings(rhythm, rate, causes, frozenset(), stages, mode, conduction, float(rng.beta(1.6, 1.8)), strain)


def _compatible(wanted: set, first: str | None) -> frozenset:
    """The causes that can be together; ``first`` is kept whatever it excludes."""
    present = set(wanted)
    for row in _ONE_OF:
        among = [code for code in row if code in present]
        # Infarcts of two walls occur together, two descriptions of one wall do not.
        if len(among) > 1:
            kept = first if first in among else among[0]
            present -= set(among) - {kept}
    return frozenset(present)


def _draw_rate(rng: np.random.Generator, rhythm: str, mode: str, conduction: int, usual: float, causes: frozenset) -> float:
    if rhythm in {"SR", "SBRAD", "STACH"}:
        rate = float(np.clip(usual + rng.normal(0, 6 if rhythm == "SR" else 0), 34, 165))
        if "3AVB" in causes:
            return float(np.clip(rate, 62, 100))
        return min(rate, 112.0) if causes & {"PVC", "PAC", "BIGU", "TRIGU", "2AVB"} else rate
    if rhythm == "AFIB":
        return float(np.clip(rng.lognormal(np.log(86), 0.28), 42, 175))
    if rhythm == "AFLT":
        return float(np.clip(rng.normal(292, 20), 235, 345)) / conduction
    if rhythm in {"SVTAC", "PSVT"}:
        return float(np.clip(rng.normal(172, 20), 140, 225))
    if rhythm == "AT":
        return float(np.clip(rng.normal(132, 20), 104, 190))
    if rhythm == "VT":
        return float(np.clip(rng.normal(160, 25), 115, 230))
    if rhythm == "JR":
        return float(np.clip(rng.normal(54, 12), 36, 96))
    if rhythm == "SVARR":
        return float(np.clip(rng.normal(104 if mode == "multifocal" else 72, 11), 52, 130))
    return float(np.clip(rng.normal(70, 8), 58, 105))  # paced


def _choose(rng: np.random.Generator, options: dict) -> Any:
    shares = np.cumsum(list(options.values()))
    return list(options)[min(int(np.searchsorted(shares, rng.random() * shares[-1])), len(options) - 1)]
