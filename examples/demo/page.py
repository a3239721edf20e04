"""The demo's page: metrics and pictures of one finished run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.evaluation.metrics.retrieval import retrieval_directions
from cmelt_plugin.evaluation.report.blocks import Commands, Metric, Metrics, Notice, Paragraph, Section
from cmelt_plugin.evaluation.report.page import render_page
from cmelt_plugin.evaluation.report.training_log import last_values, read_log
from cmelt_plugin.models.inference.pretrained import load_pretrained
from examples.demo.class_areas import MIN_RECORDS, ClassAreas, class_areas
from examples.demo.cmelt import part as cmelt
from examples.demo.commands import is_ptb_xl
from examples.demo.embedded_split import EmbeddedSplit, embed_split
from examples.demo.melp import part as melp
from examples.demo.merl import part as merl
from examples.demo.sections.data import data_section
from examples.demo.sections.negatives import negatives_section
from examples.demo.sections.real import predictions_section, ptb_xl_section
from examples.demo.sections.similarity import similarity_section
from examples.demo.sections.training import curves_section
from examples.demo.sections.zero_shot import zero_shot_section
from examples.demo.systems import SYSTEMS, System
from preprocess.text.text_embedding import load_embedder

# What is shown of one system alone: CURVES (logged name → title and unit), metrics(measured, bars) and
# sections(loaded, manifest directory, split).
PARTS = {"cmelt": cmelt, "melp": melp, "merl": merl}
NAMED = {"LVH": "left ventricular hypertrophy", "LVOLT": "low voltage"}
"""Findings with a row of their own: voltage criteria, which an encoder that loses amplitudes cannot learn."""
RHYTHMS = ("SR", "SBRAD", "STACH", "AFIB", "AFLT", "PACE")


def write_page(
    dest: Path, commands: Sequence[str], test: str, name: str, bars: Mapping[str, float], real: Path | None = None
) -> list[Metric]:
    """Compute what the hosts do not log, write ``report.html``, return the metrics.

    Args:
        dest: the demo's folder.
        commands: what was run, to be listed.
        test: name of the held-out split.
        name: key of :data:`examples.demo.systems.SYSTEMS`.
        bars: as :class:`examples.demo.systems.System`; missing: no bar.
        real: folder of real recordings, which the command of the last step has read.
    """
    system, part, manifest = SYSTEMS[name], PARTS[name], dest / "manifest"
    log = read_log(dest / "logs" / "train.log")
    measured = last_values(read_log(dest / "logs" / "validate.log"), test)
    loaded = load_pretrained(dest / "checkpoints" / "checkpoint_best.pt")
    logging.disable(logging.INFO)  # the host turns on debugging output of every library
    embedded = embed_split(loaded, manifest, test)
    assert embedded.labels is not None and embedded.scores is not None
    areas = class_areas(embedded.labels, embedded.scores, embedded.names)
    metrics = [*shared_metrics(embedded, areas, measured, bars), *part.metrics(measured, bars)]
    on_real = []
    if real is not None and is_ptb_xl(real):
        section, of_real = ptb_xl_section(loaded, dest / "real", real)
        on_real, metrics = [section], [*metrics, *of_real]
    elif real is not None:
        on_real = [predictions_section(loaded, dest / "logs" / "real.log", real)]
    sections = [
        result_section(metrics, embedded.ecg.rows, test),
        *on_real,
        Section("Commands", [Commands(commands)]),
        data_section(manifest),
    ]
    if system.negatives:
        embeddings = load_embedder("tfidf", "cpu", 256)(read_reports(manifest).texts.to_pylist())
        sections.append(negatives_section(manifest, ["train", "valid", test], embeddings))
    sections += [
        curves_section(log, part.CURVES, bars),
        *part.sections(loaded, manifest, test),
        similarity_section(embedded, rhythms(embedded)),
        zero_shot_section(embedded, areas, system.learns_labels, bars.get("macro_auc")),
        own_data_section(system),
    ]
    subtitle = "ECG–language pre-training on a synthetic cohort, from raw files to classification by texts"
    (dest / "report.html").write_text(render_page(f"{system.title} demo", subtitle, sections), encoding="utf-8")
    return metrics


def shared_metrics(
    embedded: EmbeddedSplit, areas: ClassAreas, measured: Mapping[str, float], bars: Mapping[str, float]
) -> list[Metric]:
    """What every ECG–text model can be asked for: classification by class texts, and retrieval."""
    name = f"all {len(areas.per_class)} findings by their texts, macro AUC"
    metrics = [Metric(name, areas.macro, bars.get("macro_auc"), 0.5)]
    metrics += [
        Metric(f"{title} ({name}), AUC", areas.per_class.get(name, float("nan")), bars.get(f"auc_{name}"), 0.5)
        for name, title in NAMED.items()
    ]
    directions = retrieval_directions(embedded.model, embedded.ecg, embedded.text, embedded.report)
    for direction in sorted(directions, key=lambda direction: direction.gallery != "distinct"):
        chance = direction.chance_recall(10)
        name = f"R@10 {direction.name.replace('_to_', ' → ')}".replace("ecg", "ECG")
        if direction.gallery == "distinct":
            bar = bars["recall_over_chance"] * chance if "recall_over_chance" in bars else None
            metrics.append(Metric(f"{name}, distinct reports", direction.recall(10), bar, chance))
        else:
            # No bar: where many records share a report, chance of finding one is too high for five times as much to exist.
            metrics.append(Metric(f"{name}, all pairs", measured[f"{direction.name}_r10"], None, chance))
    return metrics


def rhythms(embedded: EmbeddedSplit) -> list[str]:
    """The rhythm of each record, "" for none of :data:`RHYTHMS`."""
    assert embedded.labels is not None
    columns = {name: embedded.names.index(name) for name in RHYTHMS}
    return [next((name for name, column in columns.items() if row[column] == 1), "") for row in embedded.labels]


def result_section(metrics: Sequence[Metric], n_records: int, split: str) -> Section:
    """The metrics and what they rest on."""
    return Section(
        "Result",
        [
            Notice(
                "The recordings are synthetic. The metrics show that the software learns what is in its data; they say "
                "nothing about how well the model diagnoses patients."
            ),
            Paragraph(
                f"Measured on {n_records} records of held-out subjects (split {split}). All findings: every column of the "
                f"cohort's labels with {MIN_RECORDS} positive and negative records there. Distinct reports: each report text "
                "stands once in the gallery. All pairs: identical texts count as correct."
            ),
            Metrics(metrics),
        ],
    )


def own_data_section(system: System) -> Section:
    """The same commands for recordings of one's own."""
    return Section(
        "Your own data",
        [
            Paragraph(
                "Leave out the first command and give --root the folder of your recordings (MIMIC-IV-ECG layout; "
                "preprocess/ptb_xl.py reads PTB-XL). Use a pre-trained text encoder in place of the small one, and the "
                f"configuration {system.larger} in place of {system.configuration}. Labels are optional."
            ),
            Commands(
                [
                    "D=manifests/mine",
                    "python preprocess/mimic_iv_ecg.py --root /path/to/recordings --dest $D",
                    f"python preprocess/tokenizer.py --manifest $D --tokenizer {system.text_encoder}",
                    *system.preparation,
                    f"fairseq-hydra-train --config-dir examples/pretrain --config-name {system.larger} task.data=$PWD/$D "
                    "checkpoint.save_dir=$PWD/checkpoints/mine",
                ]
            ),
        ],
    )
