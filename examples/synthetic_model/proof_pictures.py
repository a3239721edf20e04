"""The pictures of docs/synthetic-model.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.evaluation.plots.intervals import interval_figure
from cmelt_plugin.evaluation.plots.style import GREY, PALETTE, new_figure
from examples.synthetic_model.proof_results import Proof
from examples.synthetic_model.proof_steps import LEAD_SETS, MODEL, TASKS

CLASSES, LEADS = "synthetic-model-classes.png", "synthetic-model-leads.png"
DOTS_PER_INCH = 90


def classes_figure(proof: Proof) -> Any:
    """AUC of every class, zero-shot, all records of PTB-XL at hand."""
    values, intervals, positives, macros = {}, {}, {}, []
    for task in TASKS:
        result = proof.zero_shot[MODEL, task, "all"]
        macros.append(result.metrics["macro_auc"])
        for name, entry in result.per_class.items():
            title = f"{task}: {name}"
            values[title], positives[title] = entry["auc"], int(entry["positives"])
            intervals[title] = result.intervals[f"auc/{name}"]
    return interval_figure(values, intervals, positives, float(np.mean(macros)), "zero-shot, PTB-XL")


def leads_figure(proof: Proof) -> Any:
    """Macro AUC of each label set with fewer and fewer leads."""
    figure = new_figure(5.6, 3.2)
    axes = figure.add_subplot()
    names = {"12": "12 leads", "6": "6 limb leads", "3": "I, II, V2", "2": "I, II", "1": "I"}
    for index, task in enumerate(TASKS):
        values = [100 * proof.leads[task, leads].metrics["macro_auc"] for leads in LEAD_SETS]
        axes.plot(range(len(values)), values, marker="o", markersize=4, linewidth=1.4, color=PALETTE[index], label=task)
    axes.axhline(50, color=GREY, linewidth=1, linestyle=":")
    axes.set_xticks(range(len(LEAD_SETS)), [names.get(leads, leads) for leads in LEAD_SETS])
    axes.set_ylabel("macro AUC, %")
    axes.set_title("zero-shot, PTB-XL, with fewer leads", loc="left")
    axes.legend(ncols=4)
    return figure


def draw(proof: Proof, folder: Path) -> None:
    """Write both pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in ((CLASSES, classes_figure(proof)), (LEADS, leads_figure(proof))):
        with atomic_path(folder / name) as temporary:
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
