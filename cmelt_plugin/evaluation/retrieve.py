"""Retrieval between ECGs and reports: R@1, 5, 10 and median rank in both directions, with what chance would reach.

Among all pairs every record's report stands in the gallery, and a copy of the right text is right. Where many records
share a report, chance is high there; among distinct reports every text stands in the gallery once. Ranks count from 1,
and a wrong item that scores as high as the right one goes before it.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence

import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import write_texts
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.pairs import embed_reports, open_pairs
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.labelled_split import count_subjects, data_set_name, folder_names
from cmelt_plugin.evaluation.metrics.retrieval import (
    DEPTHS,
    Direction,
    recall_intervals,
    retrieval_directions,
    retrieval_metrics,
)
from cmelt_plugin.evaluation.options import TEXT_MODEL, add_options, load_text_model, typed_command
from cmelt_plugin.evaluation.result_files import Result, write_result
from cmelt_plugin.models.scoring import score_settings
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.tables import DASH, TextTable, percent

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.retrieve --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-ecg --split test --results results/retrieval
"""


def retrieval_table(named: Sequence[tuple[str, Sequence[Direction], Result]]) -> TextTable:
    """One row per set, gallery and direction."""
    head = ["set", "gallery", "direction", "queries", "items"]
    for k in DEPTHS:
        head += [f"R@{k}", f"R@{k}, 95 %", f"R@{k}, chance"]
    head += ["median rank", "median rank, chance"]
    rows = []
    for name, directions, result in named:
        for direction in directions:
            row = [name, "all pairs" if direction.gallery == "pairs" else "distinct reports"]
            row += [direction.name.replace("_to_", " → "), str(len(direction.ranks)), str(direction.gallery_size)]
            for k in DEPTHS:
                interval = result.intervals.get(f"{direction.name}_r{k}") if direction.gallery == "pairs" else None
                row += [percent(direction.recall(k)), DASH if interval is None else " to ".join(map(percent, interval))]
                row.append(percent(direction.chance_recall(k)))
            rows.append([*row, f"{direction.median_rank:g}", f"{direction.chance_median_rank:g}"])
    return TextTable("Retrieval between ECGs and reports (recall in %)", head, rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.retrieve", __doc__, EXAMPLE)
    add_options(result, TEXT_MODEL)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.retrieve", argv)
    manifests = [Manifest.open(directory, args.split) for directory in args.manifest]
    pairs = [open_pairs(manifest) for manifest in manifests]
    pretrained = load_text_model(args)
    encoder = SplitEncoder(pretrained.model, args.cache, args.batch_size, device=args.device, bf16=args.bf16)
    evaluated = []
    for name, manifest, paired in zip(folder_names(args.manifest), manifests, pairs):
        text = embed_reports(pretrained, manifest.directory, paired.report_id, encoder.cache, args.tokenizer is None)
        ecg = encoder.embeddings(manifest).select(torch.from_numpy(paired.rows))
        report = torch.from_numpy(paired.report)
        directions = retrieval_directions(pretrained.model, ecg, text, report, pretrained.device)
        meta = manifest.meta(["subject_id", "source"])
        subjects = meta["subject_id"].take(paired.rows).to_pylist()
        result = Result(
            kind="retrieval",
            model=args.model_name,
            checkpoint=str(args.checkpoint),
            data_set=data_set_name(manifest.directory, meta["source"].to_pylist()),
            label_set="",
            split=args.split,
            n_records=len(paired.rows),
            n_subjects=count_subjects(subjects),
            settings={
                "manifest": str(manifest.directory),
                "precision": precision_name(args.bf16),
                **score_settings(pretrained.model),
                "bootstrap": args.bootstrap,
                "seed": args.seed,
            },
            metrics=retrieval_metrics(directions),
            intervals=recall_intervals(directions, subjects, args.bootstrap, args.seed) if args.bootstrap else {},
            notes=[
                f"{len(paired.rows)} records with {len(paired.report_id)} distinct reports"
                + (f"; {paired.without} records without a report are left out" if paired.without else "")
                + ".",
                "A copy of the right text is right. Intervals: subjects resampled as queries, the gallery as it is.",
            ],
            command=command,
        )
        write_result(args.results / f"retrieval-{name}", result)
        evaluated.append((name, directions, result))
    table = retrieval_table(evaluated)
    notes = [f"- {name}: {result.notes[0]}" for name, _, result in evaluated]
    page = [
        f"# {table.title}\n",
        f"Checkpoint: `{args.checkpoint}`\n",
        table.markdown(),
        "\n".join(notes) + "\n",
        f"Command: `{command}`\n",
    ]
    write_texts(args.results, {"retrieval.md": "\n".join(page), "retrieval.csv": table.csv()})
    print(table.markdown(), *notes, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
