"""The demo's report page: figures of merit and pictures of one finished run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.evaluation.embedding.pairs import embed_split
from cmelt_plugin.evaluation.metrics.recall import chance_recall
from cmelt_plugin.evaluation.report import page
from cmelt_plugin.evaluation.report.training_log import last_values, read_log
from cmelt_plugin.models.checkpoint import load_model
from examples.demo.distinct_retrieval import distinct_retrieval
from examples.demo.sections import (
    curves_section,
    data_section,
    negatives_section,
    reconstruction_section,
    similarity_section,
    zero_shot_section,
)
from preprocess.text.text_embedding import load_embedder

RHYTHMS = ("SR", "BRADY", "TACHY", "AFIB", "AFLT", "PACED")


def write_report(dest: Path, commands: Sequence[str], test: str, bars: dict[str, float]) -> list[page.Merit]:
    """Compute what the hosts do not log, write ``report.html``, return the figures of merit.

    Args:
        dest: the demo's folder.
        commands: what was run, to be listed.
        test: name of the held-out split.
        bars: what ``etm_accuracy``, ``macro_auc`` and ``recall_over_chance`` must reach and ``loss_mem`` must not exceed;
            missing: no bar.
    """
    manifest = dest / "manifest"
    log = read_log(dest / "logs" / "train.log")
    measured = last_values(read_log(dest / "logs" / "validate.log"), test)
    loaded = load_model(dest / "checkpoints" / "checkpoint_best.pt")
    logging.disable(logging.INFO)  # the host turns on debugging output of every library
    embedded = embed_split(loaded, manifest, test)

    figures = [
        page.Merit("ECG–text matching, accuracy", measured["etm_accuracy"], bars.get("etm_accuracy"), 0.5),
        page.Merit("zero-shot classification, macro AUC", measured["macro_auc"], bars.get("macro_auc"), 0.5),
    ]
    for direction, (recall, chance) in distinct_retrieval(embedded.ecg, embedded.text, embedded.report).items():
        name = f"R@10 {direction.replace('_to_', ' → ')}, distinct reports".replace("ecg", "ECG")
        bar = bars["recall_over_chance"] * chance if bars else None
        figures.append(page.Merit(name, recall, bar, chance))
    # Among pairs chance is so high, where many records share a report, that five times as much is out of reach.
    chance = chance_recall(embedded.report.numpy(), 10)
    for direction in ("ecg_to_text", "text_to_ecg"):
        name = f"R@10 {direction.replace('_to_', ' → ')}, all pairs".replace("ecg", "ECG")
        figures.append(page.Merit(name, measured[f"{direction}_r10"], None, chance))
    figures.append(page.Merit("masked words recovered, accuracy", measured["mlm_accuracy"]))
    # Standardised samples: their mean in place of every hidden one gives 1.
    figures.append(page.Merit("masked ECG, squared error", measured["loss_mem"], bars.get("loss_mem"), 1.0, is_error=True))

    columns = {name: embedded.names.index(name) for name in RHYTHMS}
    groups = [next((name for name, column in columns.items() if row[column] == 1), "") for row in embedded.labels]
    sections = [
        page.Section(
            "Result",
            [
                page.notice(
                    "The recordings are synthetic. The figures show that the software learns what is in its data; they say "
                    "nothing about how well the model diagnoses patients."
                ),
                page.paragraph(
                    f"Measured on {len(embedded.ecg)} records of held-out subjects (split {test}). Distinct reports: each "
                    "report text stands once in the gallery. All pairs: identical texts count as correct."
                ),
                page.merits(figures),
            ],
        ),
        page.Section("Commands", [page.commands(commands)]),
        data_section(manifest, ["train", "valid", test]),
        negatives_section(manifest, "train", load_embedder("tfidf", "cpu", 256)(read_reports(manifest).texts.to_pylist())),
        curves_section(log, bars={name: bars[name] for name in ("etm_accuracy", "loss_mem") if name in bars}),
        reconstruction_section(loaded, manifest, test, row=0),
        similarity_section(embedded, groups),
        zero_shot_section(embedded, bars.get("macro_auc")),
        page.Section(
            "Your own data",
            [
                page.paragraph(
                    "Leave out the first command and give --root the folder of your recordings (MIMIC-IV-ECG layout; "
                    "preprocess/ptb_xl.py reads PTB-XL). Use a pre-trained text encoder in place of the small one, and the "
                    "configuration cmelt_base in place of cmelt_tiny. Labels are optional."
                ),
                page.commands(
                    [
                        "D=manifests/mine",
                        "python preprocess/mimic_iv_ecg.py --root /path/to/recordings --dest $D",
                        "python preprocess/tokenizer.py --manifest $D --tokenizer google/flan-t5-base",
                        "python preprocess/n3s.py --manifest $D --embedder google/flan-t5-small --strategy balanced",
                        "fairseq-hydra-train --config-dir examples/pretrain --config-name cmelt_base task.data=$PWD/$D "
                        "checkpoint.save_dir=$PWD/checkpoints/mine",
                    ]
                ),
            ],
        ),
    ]
    subtitle = "ECG–language pre-training on a synthetic cohort, from raw files to zero-shot classification"
    (dest / "report.html").write_text(page.render_page("C-MELT demo", subtitle, sections), encoding="utf-8")
    return figures
