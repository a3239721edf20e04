"""How a result is called on pages and in tables."""

from __future__ import annotations

from cmelt_plugin.data.leads import LEAD_SETS, LEADS
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.models.base import COSINE

KIND_NAMES = {
    "finetune": "full fine-tuning",
    "identification": "patient identification",
    "linear_probe": "linear probe",
    "zero_shot": "zero-shot",
    "shift": "distribution shift",
    "code_test": "CODE-test",
    "retrieval": "retrieval",
    "generation": "report generation",
    "grounding": "grounding of sentences",
    "regression": "regression",
    "uncertainty": "uncertainty",
    "confidence": "confidence",
    "drift": "drift",
    "ablation": "ablation",
}


def data_set_name(result: Result) -> str:
    """The label set a result is about, or the data where there are no classes."""
    return result.label_set or result.data_set


USUAL = {
    **{"pool": "cls", "features": "pooled", "prompt_kind": "description", "source": "", "variant": "", "task": ""},
    **{"score": COSINE, "beams": 1},
}
"""Settings that are shown where they have another value."""


def settings_text(result: Result) -> str:
    """The settings that set results of one kind apart, in one line; defaults are left out."""
    settings = result.settings
    parts = []
    if "fraction" in settings:
        parts.append(f"{100 * float(settings['fraction']):g} % of the training records")
        if float(settings["fraction"]) < 1 and settings.get("subset"):
            parts.append(f"{settings['subset']} subset")
    if "shots" in settings:
        parts.append(f"{settings['shots']} training records of each class")
    if "seeds" in settings:
        parts.append(f"{settings['seeds']} seeds")
    leads = settings.get("leads")
    if leads:
        leads = [leads] if isinstance(leads, str) else leads
        parts.append(f"leads {', '.join(map(str, leads))}" if len(leads) < len(LEADS) else "12 leads")
    for name, default in USUAL.items():
        value = settings.get(name, default)
        if value != default and value is not None:
            parts.append(f"{name.replace('_', ' ')} {value}")
    return "; ".join(parts)


def lead_set(result: Result) -> str:
    """Key of :data:`~cmelt_plugin.data.leads.LEAD_SETS` for the leads a result was measured with, "" for others."""
    leads = result.settings.get("leads") or LEADS
    if isinstance(leads, str):
        leads = LEAD_SETS.get(leads, (leads,))
    chosen = {str(lead).lower() for lead in leads}
    return next((key for key, names in LEAD_SETS.items() if {name.lower() for name in names} == chosen), "")


def row_name(result: Result) -> str:
    """How a model is called in a table: its name, and what sets it apart within a kind."""
    details = []
    if result.kind == "shift":
        details.append("zero-shot" if result.settings.get("zero_shot", "fraction" not in result.settings) else "probe")
    if result.kind == "linear_probe" and result.settings.get("subset", "merl") != "merl":
        details.append(f"{result.settings['subset']} subsets")
    if result.kind in ("linear_probe", "zero_shot", "shift") and lead_set(result) != "12":
        leads = result.settings["leads"]
        details.append(f"leads {leads if isinstance(leads, str) else ' '.join(map(str, leads))}")
    if result.settings.get("pool", "cls") != "cls":
        details.append(f"{result.settings['pool']} pooling")
    if result.kind == "code_test" and result.settings.get("decisions"):
        details.append(str(result.settings["decisions"]))
    if result.kind == "zero_shot" and result.settings.get("prompt_kind", "description") != "description":
        details.append(f"class texts: {result.settings['prompt_kind']}")
    if any(note.startswith("labels (exact)") for note in result.notes):
        details.append("exact labels")
    if result.split != "test":
        details.append(result.split)
    return result.model + (f" ({', '.join(details)})" if details else "")


def heading(result: Result) -> str:
    """Data, kind, model and settings: the heading over a single result."""
    details = settings_text(result)
    return f"{data_set_name(result)}, {KIND_NAMES[result.kind]}: {row_name(result)}" + (f" ({details})" if details else "")
