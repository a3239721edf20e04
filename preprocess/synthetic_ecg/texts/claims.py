"""What a wording claims about a record beyond the label that it stands for, and whether the record shows that.

"Regular sinus rhythm" stands for the label ``SR`` and claims regular beats, which a sinus rhythm with dropped beats has not.
A claim is a pattern of words and a test of the planned record; a wording fits where the record passes the tests of all that it
claims. Words that no pattern matches claim nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from preprocess.synthetic_ecg.labels import Measured, depressed_leads, flat_leads, inverted_leads, q_leads, raised_leads
from preprocess.synthetic_ecg.physiology.findings import INFARCTS, INJURIES, ISCHAEMIAS
from preprocess.synthetic_ecg.physiology.leads import MIMIC_LEADS
from preprocess.synthetic_ecg.physiology.rhythm import PREMATURE_ATRIAL, PREMATURE_VENTRICULAR, SECONDS, SINUS_P
from preprocess.synthetic_ecg.record import Plan

Test = Callable[[Plan], bool]
_ROW = {name: row for row, name in enumerate(MIMIC_LEADS)}
ECTOPIC = frozenset({"PVC", "PAC", "PRC(S)", "BIGU", "TRIGU", "JEB", "VEB"})
"""Labels of single beats that the basic rhythm does not lead to."""
DROPPED = frozenset({"2AVB", "3AVB", "PAUSE"})
_SPECIFIC = frozenset({"STEMI", "PERI", "ERV", "ANEUR", "DIG", "STRAIN", *INJURIES, *(ISCHAEMIAS.keys() - {"ISC_"})})
_BROAD = frozenset({"CLBBB", "CRBBB", "WPW"})
_DISSOCIATED = frozenset({"AFIB", "AFLT", "3AVB", "VT", "SVTAC", "JR", "DPACE", "VPACE", "2AVB1"})


def inside(onset: np.ndarray) -> np.ndarray:
    """bool: which of the onsets (s) the record holds with enough of the beat, as labels count them."""
    return (onset > 0.0) & (onset < SECONDS - 0.15)


def changed_leads(m: Measured) -> np.ndarray:
    """bool ``[12]``: leads with a depressed ST segment or an inverted T wave."""
    return depressed_leads(m) | inverted_leads(m)


def wall_of(leads: list[str]) -> str:
    """The wall that leads look at, "Nonspecific" where they look at none."""
    found = set(leads)
    inferior = len(found & {"II", "III", "aVF"}) >= 2
    lateral = len(found & {"I", "aVL", "V5", "V6"}) >= 2
    anterior = len(found & {"V2", "V3", "V4"}) >= 2
    if inferior and lateral:
        return "Inferolateral"
    if anterior and lateral:
        return "Anterolateral"
    return "Inferior" if inferior else "Lateral" if lateral else "Anterior" if anterior else "Nonspecific"


def count_inside(plan: Plan, kind: int) -> int:
    """Complexes of a kind inside the record."""
    return int(((plan.rhythm.kind == kind) & inside(plan.rhythm.onset)).sum())


def flutter_ratio(plan: Plan) -> int:
    """Flutter waves to a complex; 0 where that changes within the record."""
    conduction = plan.findings.conduction
    if not conduction:
        return 0
    cycle = 60 / plan.findings.rate / conduction
    ratios = np.unique(np.round(plan.measured.rr / cycle))
    return int(ratios[0]) if len(ratios) == 1 else 0


def has_pr(plan: Plan) -> bool:
    """Whether the record has one PR interval: each P wave leads to a complex after the same time."""
    return bool(plan.measured.pr) and not plan.findings.labels & _DISSOCIATED


def _without(*labels: str) -> Test:
    excluded = frozenset(labels)
    return lambda plan: not plan.findings.labels & excluded


def _sinus_rate(plan: Plan) -> bool:
    """Whether the ventricles' rate is the sinus node's and the one that the rhythm's name promises."""
    rate, labels = plan.measured.rate, plan.findings.labels
    if labels & {"2AVB", "3AVB"}:
        return False
    return not ("SBRAD" in labels and rate >= 60 or "STACH" in labels and rate <= 100)


def _normal_rate(plan: Plan) -> bool:
    return 60 <= plan.measured.rate <= 100 and not plan.findings.labels & DROPPED


def _narrow(plan: Plan) -> bool:
    return plan.measured.qrs < 120 and not plan.findings.labels & _BROAD


def _sinus_waves(plan: Plan) -> bool:
    """Whether the record holds P waves of the sinus node."""
    return bool((inside(plan.rhythm.p_onset) & (plan.rhythm.p_kind == SINUS_P)).any())


def _paced(ventricle: bool) -> Test:
    return lambda plan: any(of_ventricle == ventricle for _, of_ventricle in plan.rhythm.spikes)


def _both_paced(plan: Plan) -> bool:
    return _paced(True)(plan) and _paced(False)(plan)


def _leads(leads: Callable[[Measured], np.ndarray], least: int = 1) -> Test:
    """Whether so many leads show something and bear their own names."""
    return lambda plan: not plan.swapped and int(leads(plan.measured).sum()) >= least


def _walled(leads: Callable[[Measured], np.ndarray]) -> Test:
    """Whether the leads that show something look at one wall."""
    return lambda plan: wall_of(plan.measured.leads(leads(plan.measured))) != "Nonspecific"


def _healthy_voltage(plan: Plan) -> bool:
    return not plan.findings.labels & {"LVH", "RVH", "STRAIN", "STEMI", *INFARCTS}


def _irregular(plan: Plan) -> bool:
    return len(plan.measured.rr) > 1 and float(np.ptp(plan.measured.rr)) > 0.12


def _measured(name: str, least: float = -np.inf, most: float = np.inf) -> Test:
    """Whether a number of ``Measured`` lies between both, these included."""
    return lambda plan: least <= getattr(plan.measured, name) <= most


def _swapped(pair: str) -> Test:
    return lambda plan: plan.swapped == pair


_STILL = _without("REVERSAL")
# Words, and what a record that they are said of must show. Words are lower case; braces hold what is filled in later.
_CLAIMS: tuple[tuple[str, Test], ...] = (
    # Rhythm and rate.
    (r"(?<!ir)regular (sinus|rhythm|fast rate|slow rate)|slow regular|fast regular", _without(*DROPPED, *ECTOPIC, "SARRH")),
    (r"\bregular (narrow|wide|fast rhythm)", _without(*ECTOPIC)),
    (r"p waves? .*(before (every|each)|precede each)", _without(*DROPPED, *ECTOPIC)),
    (r"upright p wave in lead ii|p waves of normal axis", _without("REVERSAL", "LAO/LAE", "RAO/RAE")),
    (r"(with|a|^) ?normal p wave", _without("REVERSAL", "LAO/LAE", "RAO/RAE")),
    (r"constant pr interval precede", has_pr),
    (r"between 60 and 100|rate within normal|normal sinus|\bnsr\b|normfrequent", _normal_rate),
    (r"(sinus|nsr).*\{rate\}", _sinus_rate),
    (r"^sinus.* (below 60|above 100)", _sinus_rate),
    (r"regular (slow|fast) rate|slow sinus rhythm|fast sinus rhythm|slow regular", _sinus_rate),
    (r"slow heart rate|ventricular rate below 60", _measured("rate", most=59)),
    (r"marked sinus bradycardia", _measured("rate", most=50)),
    (r"except for rate", lambda plan: not 60 <= plan.measured.rate <= 100),
    (r"irregularly irregular|irregular vent|vary from beat|arrhythmie bei vorhof", _without("PACE")),
    (r"\{response\}", _without("PACE")),
    (r"\{ratio\}:1|fixed ratio", lambda plan: flutter_ratio(plan) > 0),
    (r"flutter with variable|mit wechselnder", lambda plan: flutter_ratio(plan) == 0),
    (r"supraventricular tachycardia (at|with a rate)|tachykardie mit|fast rhythm with narrow", _without("PSVT")),
    (r"between 100 and 250", _measured("rate", least=100)),
    (r"rate above 150", _measured("rate", least=151)),
    (r"150 to 250", lambda plan: 150 <= plan.findings.rate <= 250),
    (r"begins or ends|sudden onset|abrupt run", _sinus_waves),
    (r"p waves hidden or not seen|without visible sinus", lambda plan: not _sinus_waves(plan)),
    (r"without preceding p waves", lambda plan: not (plan.rhythm.p_beat >= 0).any()),
    (r"^irregular (rhythm of narrow|supraventricular)", _irregular),
    (r"changing p waves", lambda plan: plan.findings.mode in {"wandering", "multifocal"}),
    (r"ectopic atrial rhythm|unusual p axis|rhythm with abnormal p waves", _without("JR")),
    (r"narrow (qrs|complex)", _narrow),
    # Premature beats.
    (r"occasional|isolated|einzelne|\{count\}", _without("BIGU", "TRIGU")),
    (r"early beat with an abnormal p wave and a narrow", lambda plan: count_inside(plan, PREMATURE_ATRIAL) > 0),
    (r"\{count\} ventricular", lambda plan: count_inside(plan, PREMATURE_VENTRICULAR) > 0),
    # Pacing.
    (r"ventricular(ly)?[- ]pac|ventricular-paced|spike before each wide|ventrikuläre schrittm", _paced(True)),
    (r"(?<!and )\batrial[- ]pac|atrial pacemaker|spike before each p wave|vorhofstimulation", _paced(False)),
    (r"atrial and ventricular pacemaker|a-v sequential|av sequential", _both_paced),
    (r"atrial-sensed", lambda plan: not _paced(False)(plan)),
    # Conduction.
    (r"every p wave conducted|no dropped beats", _without("2AVB", "PAC")),
    (r"wide qrs complexes or a long pr", lambda plan: plan.measured.qrs >= 120 or "LPR" in plan.findings.labels),
    (r"qrs (duration )?(of|wider than) 1[12]0|^wide qrs (with|complexes from)", _measured("qrs", least=111)),
    (r"notched or widened", _measured("qrs", least=110)),
    (r"qrs of 120 ms or more", _measured("qrs", least=120)),
    (r"qrs duration between 110 and 120", _measured("qrs", least=108, most=122)),
    (r"\{pr\}", has_pr),
    (r"^short pr", _measured("pr", most=119)),
    # Axis and voltage.
    (r"\{axis\}", _STILL),
    (r"left anterior.*axis|überdrehter linkstyp|strongly leftward", _measured("axis", -120, -30)),
    (r"axis beyond minus 45|marked left(ward)? axis|marked leftward", _measured("axis", -120, -45)),
    (r"(left posterior|right ventricular|in v1).*(rightward|right axis)|axis beyond 90|rechtstyp", _measured("axis", least=91)),
    (r"left posterior hemiblock, axis", _measured("axis", least=91)),
    (r"marked rightward|marked right axis|überdrehter rechtstyp", _measured("axis", least=110)),
    (r"borderline right axis", _measured("axis", most=110)),
    (r"\{sokolow\}|s wave in v1 and the r wave|chest lead voltages|positiver sokolow", _measured("sokolow", least=3.5)),
    (r"^voltages are high in chest leads suggesting|^tall r waves in v5", _measured("sokolow", least=3.0)),
    (r"below 1.0 mv in the|complexes in all|generalized low|frontal and horiz|in limb and", _measured("chest", most=1.0)),
    (r"^probable normal variant", _without("PVC", "PAC", "1AVB")),
    (r"normal variant|normal for age|benign", _healthy_voltage),
    (r"normal axis|normal intervals|axis and intervals", _without("SPR", "LPR", "LAD", "RAD", "REVERSAL")),
    (r"st segments and t waves$|normal repolarization", _without("ERV", "UW", "REVERSAL")),
    (r"p wave longer than 120", _measured("p", least=121)),
    # ST, T and QT.
    (r"\{st\}|\{territory\} st elevation|st elevation with acute", _leads(raised_leads)),
    (r"\{std\}|\{territory\} st depression", _leads(depressed_leads)),
    (r"\{changed\}", _leads(changed_leads)),
    (r"st depression and t (wave )?inversion", _leads(inverted_leads)),
    (r"st depression and t (wave )?inversion", _leads(depressed_leads)),
    (r"widespread st-t|extensive st-t", _leads(changed_leads, 4)),
    (r"widespread t wave", _leads(flat_leads, 4)),
    (r"(?<!no )pathological q|q waves suggest|shown by q waves|qs complexes", _leads(q_leads)),
    (r"loss of septal q|without septal q", lambda plan: min(plan.measured.q[[_ROW["I"], _ROW["V6"]]]) > -0.05),
    (r"dominant r (wave )?in v1", lambda plan: plan.measured.r[_ROW["V1"]] > -plan.measured.s[_ROW["V1"]]),
    (r"\{q_territory\}", _walled(q_leads)),
    (r"\{t_territory\}", _walled(inverted_leads)),
    (r"\{std_territory\}", _walled(depressed_leads)),
    (r"\{flat\}", lambda plan: bool(flat_leads(plan.measured).any())),
    (r"nonspecific st (segment )?(ele|dep)|without a (specific cause|clear)|minor st (ele|dep)", _without(*_SPECIFIC)),
    (r"elevated st segments consider acute", _without("ERV", "PERI", "ANEUR")),
    (r"may reflect an old infarct", _without("STEMI")),
    (r"corrected qt interval above 460|\{qtc\}", _measured("qtc", least=450)),
    # What is denied.
    (r"no conduction abnormality", lambda plan: plan.measured.qrs < 120 and plan.measured.pr <= 200),
    (r"no left ventricular hypertrophy", _measured("sokolow", most=3.49)),
    (r"no st elevation", lambda plan: not raised_leads(plan.measured).any()),
    # Electrodes.
    (r"arm lead reversal", _swapped("left arm and right arm")),
    (r"\bavf\b|\bavl\b|leads? (i|ii|iii)\b", _STILL),
)  # fmt: skip
_PATTERNS = tuple((re.compile(words), shown) for words, shown in _CLAIMS)
# Waves whose leads class texts name, and which leads show them; the first that matches holds.
_WAVES: tuple[tuple[str, Callable[..., np.ndarray]], ...] = (
    (r"st depression or (negative t waves|t wave inversion)", changed_leads),
    (r"st depression", depressed_leads),
    (r"(?<!septal )(?<!small )q waves", q_leads),
    (r"inverted t waves", inverted_leads),
    (r"low or flat|flattening", flat_leads),
)
_LEADS = re.compile(r"\b(v[1-6] (?:to|and) v[1-6]|limb leads|precordial leads|inferior|iii|ii|i|avf|avl|v[1-6])\b")
_NAMED = {"limb leads": ("I", "II", "III", "aVL", "aVF"), "precordial leads": MIMIC_LEADS[6:], "inferior": ("II", "III", "aVF")}


def fits(plan: Plan, text: str) -> bool:
    """Whether the record shows all that a wording claims; what is filled in later stands in braces."""
    return all(shown(plan) for shown in _tests(text))


@cache
def _tests(text: str) -> tuple[Test, ...]:
    words = text.lower()
    tests = [shown for pattern, shown in _PATTERNS if pattern.search(words)]
    wave = next((leads for pattern, leads in _WAVES if re.search(pattern, words)), None)
    # The tall R wave or the lost one that a text names after the Q waves is not looked for.
    looked_for = words.split(" with a tall")[0].split("loss of")[-1].split("prominent r wave in v1 and v2")[-1]
    named = _rows(looked_for)
    if wave is not None and named and "{" not in words:
        found = wave
        tests.append(lambda plan: 2 * int(found(plan.measured)[named].sum()) >= len(named))
    return tuple(tests)


def _rows(words: str) -> list[int]:
    """Rows of the leads that a class text names."""
    names: list[str] = []
    for found in _LEADS.findall(words):
        if " to " in found:
            names += [f"V{number}" for number in range(int(found[1]), int(found[-1]) + 1)]
        elif " and v" in found:
            names += [f"V{found[1]}", f"V{found[-1]}"]
        elif found in _NAMED:
            names += _NAMED[found]
        else:
            names.append({"avf": "aVF", "avl": "aVL"}.get(found, found.upper()))
    return sorted({_ROW[name] for name in names})
