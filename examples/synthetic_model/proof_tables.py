"""The tables of docs/synthetic-model.md."""

from __future__ import annotations

import numpy as np

from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.tables import DASH, TextTable, percent
from examples.synthetic_model import proof_steps
from examples.synthetic_model.probes import FRACTIONS
from examples.synthetic_model.proof_results import Answer, Proof
from examples.synthetic_model.proof_steps import CONTINUED, LEAD_SETS, MODEL, TASKS, TEST, TRAINING, UNTRAINED

PUBLISHED = {"C-MELT": (0.762, 0.759, 0.661, 0.886), "MERL": (0.742, 0.757, 0.659, 0.785)}
"""Macro AUC of super, sub, form and rhythm on the whole test folds of PTB-XL: other, and more, recordings."""
NAMES = {MODEL: "this model", CONTINUED: "after more pre-training on real reports", UNTRAINED: "random weights"}


def tables(proof: Proof) -> str:
    """All tables as Markdown."""
    every = [_zero_shot(proof), _classes(proof), _leads(proof), _challenge(proof)]
    every += [_answers(name, answers) for name, answers in proof.answers.items()]
    every += [_probes(proof), _finetuned(proof), _learning_rates(proof)]
    return "\n".join(table.markdown() for table in every if table.rows)


def _with_interval(result: Result | None, name: str = "macro_auc", value: float | None = None) -> str:
    if result is None:
        return DASH
    low, high = result.intervals.get(name, (None, None))
    text = percent(result.metrics["macro_auc"] if value is None else value, 1)
    return text if low is None else f"{text} [{percent(low, 1)}, {percent(high, 1)}]"


def _with_spread(result: Result | None) -> str:
    if result is None:
        return DASH
    spread = f" ± {percent(result.spread['macro_auc'], 1)}" if "macro_auc" in result.spread else ""
    return f"{percent(result.metrics['macro_auc'], 1)}{spread}"


def _zero_shot(proof: Proof) -> TextTable:
    head = ["label set", "recordings", "classes", NAMES[MODEL], NAMES[CONTINUED], NAMES[UNTRAINED], *PUBLISHED]
    rows = []
    titles = {"all": "", TRAINING: ", folds 1-8", TEST: ", folds 9-10"}
    for (model, name, folds), result in proof.zero_shot.items():
        if model == MODEL and not name.startswith("cinc2021"):
            task = name.split("-")[0]
            whole = folds == "all" and name == task
            published = [percent(values[TASKS.index(task)], 1) if whole else DASH for values in PUBLISHED.values()]
            title = name.replace("-standardised", ", leads standardised") + titles[folds]
            seen = folds != TEST  # of the others it has read the reports
            continued = DASH if seen else _with_interval(proof.zero_shot.get((CONTINUED, name, folds)))
            cells = [str(result.n_records), str(len(result.per_class)), _with_interval(result), continued]
            rows.append([title, *cells, _with_spread(proof.zero_shot.get((UNTRAINED, name, folds))), *published])
    return TextTable("Zero-shot, PTB-XL (macro AUC, %)", head, rows)


def _classes(proof: Proof) -> TextTable:
    rows = []
    for task in TASKS:
        result, other = (proof.zero_shot.get((MODEL, name, "all")) for name in (task, f"{task}-standardised"))
        for name, entry in result.per_class.items() if result else ():
            standardised = percent(other.per_class[name]["auc"], 1) if other and name in other.per_class else DASH
            cells = [str(int(entry["positives"])), _with_interval(result, f"auc/{name}", entry["auc"]), standardised]
            rows.append([task, name, *cells])
    rows.sort(key=lambda row: (TASKS.index(row[0]), -float(row[3].split()[0])))
    return TextTable("Zero-shot by class (AUC, %)", ["label set", "class", "positives", "AUC", "leads standardised"], rows)


def _leads(proof: Proof) -> TextTable:
    titles = {"12": "12", "6": "6 limb", "3": "I, II, V2", "2": "I, II", "1": "I"}
    rows = [
        [titles.get(leads, leads), *(_with_interval(proof.leads.get((task, leads))) for task in TASKS)]
        for leads in LEAD_SETS
        if ("super", leads) in proof.leads
    ]
    return TextTable("Zero-shot with fewer leads (macro AUC, %)", ["leads", *TASKS], rows)


def _challenge(proof: Proof) -> TextTable:
    rows = []
    for name, title in (("cinc2021", ""), ("cinc2021-standardised", ", leads standardised")):
        result, other = (proof.zero_shot.get((model, name, "all")) for model in (MODEL, UNTRAINED))
        if result is not None:
            rows.append([f"macro{title}", str(result.n_records), _with_interval(result), _with_spread(other)])
            for one, entry in result.per_class.items() if not title else ():
                auc = _with_interval(result, f"auc/{one}", entry["auc"])
                rows.append(
                    [one, str(int(entry["positives"])), auc, percent(other.per_class[one]["auc"], 1) if other else DASH]
                )
    return TextTable(
        "Zero-shot, Georgia and Chapman/Ningbo (AUC, %)", ["class", "records", NAMES[MODEL], NAMES[UNTRAINED]], rows
    )


def _answers(name: str, answers: list[Answer]) -> TextTable:
    rows = [[a.record, ", ".join(a.truth), ", ".join(a.first), f"{a.place} of {a.classes}"] for a in answers]
    mean, chance = np.mean([a.place for a in answers]), (answers[0].classes + 1) / 2
    rows.append(["mean", "", "", f"{mean:.1f} (chance: {chance:.1f})"])
    return TextTable(f"Zero-shot, {name}", ["record", "label", "most similar classes", "place of the label"], rows)


def _probes(proof: Proof) -> TextTable:
    rows = []
    for size in ("validated", *(f"{100 * fraction:g}pct" for fraction in FRACTIONS)):
        title = "cross-validation, folds 1-8" if size == "validated" else f"{size[:-3]} % of folds 1-8, folds 9-10"
        # More pre-training has read the reports of folds 1 to 8.
        for model in (MODEL, UNTRAINED) if size == "validated" else (MODEL, CONTINUED, UNTRAINED):
            cells = []
            for task in TASKS:
                found = [
                    result for (one, t, s), result in proof.probes.items() if one.startswith(model) and (t, s) == (task, size)
                ]
                cells.append(_over_encoders(found))
            if any(cell != DASH for cell in cells):
                rows.append([title, NAMES[model], *cells])
    return TextTable("Linear probes (macro AUC, %)", ["labels, tested on", "encoder", *TASKS], rows)


def _over_encoders(found: list[Result]) -> str:
    """Of one encoder its probes; of several their mean, and the standard deviation of the encoders."""
    if len(found) < 2:
        result = found[0] if found else None
        return _with_interval(result) if result is not None and not result.spread else _with_spread(result)
    values = [result.metrics["macro_auc"] for result in found]
    return f"{percent(float(np.mean(values)), 1)} ± {percent(float(np.std(values, ddof=1)), 1)}"


STARTS = {MODEL: "from this model", UNTRAINED: "from random weights"}


def _finetuned(proof: Proof) -> TextTable:
    rows = []
    for start, rate in proof_steps.LEARNING_RATES.items():
        keys = [(proof_steps.divided(task), start, fraction, rate) for task, fraction in proof_steps.FINETUNED]
        rows.append([STARTS[start], *(_with_spread(proof.finetuned.get(key)) for key in keys)])
    head = ["encoder", *(f"{task}, {100 * fraction:g} %" for task, fraction in proof_steps.FINETUNED)]
    return TextTable("Fine-tuning, by share of the labels of folds 1-8 (macro AUC on folds 9-10, %)", head, rows)


def _learning_rates(proof: Proof) -> TextTable:
    rows = [
        [title, *(_with_spread(proof.finetuned.get((proof_steps.CHOICE, start, 1.0, rate))) for rate in proof_steps.RATES)]
        for start, title in STARTS.items()
    ]
    head = ["encoder", *(f"{rate:g}" for rate in proof_steps.RATES)]
    return TextTable("Learning rates of fine-tuning, superclasses (macro AUC on folds 7-8, %)", head, rows)
