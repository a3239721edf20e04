"""The table of systems side by side, from their result folders."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from system_runs import FRACTIONS, Variant

from cmelt_plugin.data.files import read_json
from cmelt_plugin.evaluation.result_files import Result, read_results
from cmelt_plugin.tables import DASH, markdown

FACTS = {"reports written, F1 of findings": "fact_f1", "the nearest recording's": "fact_f1|nearest"}
MOST_FREQUENT = "fact_f1|most_frequent"
RECALLS = {"R@10 ECG → text": "ecg_to_text", "R@10 text → ECG": "text_to_ecg"}

Metrics = dict[object, float]


def tabulate(variants: Sequence[Variant], updates: Callable[[str], str], arguments: argparse.Namespace) -> str:
    """The table as Markdown, also written to DEST/table.md: percent, mean ± standard deviation over seeds.

    Args:
        variants: its rows.
        updates: how long a system was pre-trained, as text.
        arguments: of the command.
    """

    def folders(variant: Variant) -> list[Path]:
        return [arguments.dest / variant.name / f"seed{seed}" for seed in range(1, arguments.seeds + 1)]

    def seconds(variant: Variant, step: str) -> str:
        return f"{np.mean([read_json(folder / 'logs' / f'{step}.done.json')['seconds'] for folder in folders(variant)]):.0f}"

    trained = {variant.name: [pretrained_metrics(folder / "results") for folder in folders(variant)] for variant in variants}
    columns: dict[str, object] = {"zero-shot AUC": "auc", **RECALLS}
    columns.update({f"probe, {100 * fraction:g} %": fraction for fraction in FRACTIONS})
    if arguments.finetune is not None:
        columns[f"fine-tuned, {100 * arguments.finetune:g} %"] = "finetuned"
    writers = [metrics for of_seeds in trained.values() for metrics in of_seeds if MOST_FREQUENT in metrics]
    if writers:
        columns.update(FACTS)

    def row(name: str, length: str, time: str, metrics: Sequence[Metrics]) -> list[str]:
        return [name, length, time, *(_cell([found.get(key) for found in metrics]) for key in columns.values())]

    rows = [
        row(variant.name, updates(variant.system), seconds(variant, "pretrain"), trained[variant.name]) for variant in variants
    ]
    own = [variant for variant in variants if not variant.settings]
    for variant in own:
        untrained = [probe_metrics(folder / "results" / "untrained_probe") for folder in folders(variant)]
        rows.append(row(f"{variant.name}, random weights", "0", DASH, untrained))
    for variant in [variant for variant in own if variant.system in arguments.supervised]:
        alone = [supervised_metrics(folder / "results") for folder in folders(variant)]
        length = f"{arguments.epochs} epochs"
        rows.append(row(f"{variant.name}, labels alone", length, seconds(variant, "supervised"), alone))
    table = markdown(["encoder", "updates", "seconds", *columns], rows)
    first = trained[variants[0].name][0]
    if "ecg_to_text_chance" in first:
        table += f"\nChance of R@10: {100 * first['ecg_to_text_chance']:.1f} % ECG → text, "
        table += f"{100 * first['text_to_ecg_chance']:.1f} % text → ECG.\n"
    if writers:
        table += f"\nF1 of findings of the most frequent report: {100 * writers[0][MOST_FREQUENT]:.1f} %.\n"
    (arguments.dest / "table.md").write_text(table, encoding="utf-8")
    return table


def pretrained_metrics(folder: Path) -> Metrics:
    """Metrics of a pre-trained model by the table's columns, and what chance would give."""
    metrics = probe_metrics(folder / "linear_probe")
    if (folder / "zero_shot").is_dir():
        metrics["auc"] = _metrics(folder / "zero_shot")["macro_auc"]
        retrieval = _metrics(folder / "retrieval")
        for direction in RECALLS.values():
            metrics[direction] = retrieval[f"{direction}_r10"]
            metrics[f"{direction}_chance"] = retrieval[f"{direction}_r10_chance"]
    if (folder / "generation").is_dir():
        generation = _metrics(folder / "generation")
        metrics.update({name: generation[name] for name in (*FACTS.values(), MOST_FREQUENT)})
    if (folder / "classify_finetuned").is_dir():
        metrics["finetuned"] = _metrics(folder / "classify_finetuned")["macro_auc"]
    return metrics


def probe_metrics(folder: Path) -> Metrics:
    """Share of labels → macro AUC."""
    results = [stored.result for stored in read_results([folder])]
    return {result.settings["fraction"]: result.metrics["macro_auc"] for result in results}


def supervised_metrics(folder: Path) -> Metrics:
    """Macro AUC of an encoder that learned labels alone: all of them, and the share that others are fine-tuned with."""
    metrics: Metrics = {1.0: _metrics(folder / "classify")["macro_auc"]}
    if (folder / "classify_few").is_dir():
        metrics["finetuned"] = _metrics(folder / "classify_few")["macro_auc"]
    return metrics


def _metrics(folder: Path) -> dict[str, float]:
    results: list[Result] = [stored.result for stored in read_results([folder])]
    return results[0].metrics


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return DASH
    spread = f" ± {100 * np.std(known, ddof=1):.1f}" if len(known) > 1 else ""
    return f"{100 * np.mean(known):.1f}{spread}"
