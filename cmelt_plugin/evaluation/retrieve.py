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
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.text.reports import REPORTS_FILE, read_reports
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.pairs import pad_texts
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.embedding.records import cached_embeddings
from cmelt_plugin.evaluation.labelled_split import count_subjects, data_set_name, folder_names
from cmelt_plugin.evaluation.metrics.ranks import Direction, figures, recall_intervals, retrieval_directions
from cmelt_plugin.evaluation.metrics.recall import DEPTHS
from cmelt_plugin.evaluation.options import (
    add_pretrained_arguments,
    load_contrastive,
    typed_command,
)
from cmelt_plugin.evaluation.report.published_rows import DASH
from cmelt_plugin.evaluation.result_files import Result, write_result
from cmelt_plugin.evaluation.zero_shot.tables import TableTexts, percent
from cmelt_plugin.models.pretrained import MAX_TEXT_TOKENS, Pretrained

TEXT_BATCH = 256
EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.retrieve --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-ecg --split test --results results/retrieval
"""


class PairedSplit(NamedTuple):
    """The N records of a split that have a report.

    Attributes:
        rows: int64 ``[N]``, their rows of the manifest.
        report: int64 ``[N]``, each record's row of the U distinct reports.
        report_id: int64 ``[U]``, row of reports.parquet.
        subject_id: N strings.
        data_set: name.
        without: records without a report.
    """

    rows: np.ndarray
    report: np.ndarray
    report_id: np.ndarray
    subject_id: list[str]
    data_set: str
    without: int


def open_pairs(manifest: Manifest) -> PairedSplit:
    """Which records of a split have a report, and which one.

    Raises:
        DataError: fewer than two reports to tell apart.
    """
    report_ids = manifest.report_ids()
    rows = np.flatnonzero(report_ids >= 0)
    report_id, report = np.unique(report_ids[rows], return_inverse=True)
    if len(report_id) < 2:
        raise DataError(
            f"{manifest.directory}/{manifest.split}.meta.parquet: {len(report_id)} distinct reports; retrieval needs two"
        )
    meta = manifest.meta(["subject_id", "source"])
    subjects = meta["subject_id"].to_pylist()
    name = data_set_name(manifest.directory, meta["source"].to_pylist())
    return PairedSplit(rows, report, report_id, [subjects[row] for row in rows], name, len(report_ids) - len(rows))


@torch.inference_mode()
def embed_reports(pretrained: Pretrained, directory: Path, report_id: np.ndarray, use_token_files: bool = True) -> Tensor:
    """Embeddings of reports for dot products: float32 ``[U, D]``, on the CPU.

    Token ids come from ``reports.TAG.npz`` where the model's tokenizer has made it, else the texts are tokenised here.

    Args:
        directory: manifest directory.
        report_id: int64 ``[U]``, rows of reports.parquet.
        use_token_files: False: always tokenise.

    Raises:
        DataError: the token file is stale, or the tokenizer cannot be found.
    """
    fingerprint = pretrained.task_state.get("tokenizer_fingerprint")
    for path in sorted(directory.glob("reports.*.npz")) if use_token_files and fingerprint is not None else ():
        if TokenTable.load(path).info["fingerprint"] == fingerprint:
            tokens = TokenTable.load(path, directory / REPORTS_FILE)
            limit = int((pretrained.cfg.get("task") or {}).get("max_text_tokens") or MAX_TEXT_TOKENS)
            parts = []
            for start in range(0, len(report_id), TEXT_BATCH):
                ids, padding = pad_texts(tokens, report_id[start : start + TEXT_BATCH], limit)
                embedded = pretrained.model.embed_text(ids.to(pretrained.device), padding.to(pretrained.device)).mean
                parts.append(embedded.float().cpu())
            return torch.cat(parts)
    texts = read_reports(directory).texts
    return pretrained.encode_text([texts[int(row)].as_py() for row in report_id])


def retrieval_table(named: Sequence[tuple[str, Sequence[Direction], Result]]) -> TableTexts:
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
    return TableTexts("Retrieval between ECGs and reports (recall in %)", head, rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m cmelt_plugin.evaluation.retrieve",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_pretrained_arguments(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.retrieve", argv)
    manifests = [Manifest.open(directory, args.split) for directory in args.manifest]
    pairs = [open_pairs(manifest) for manifest in manifests]
    pretrained = load_contrastive(args)
    found = []
    for name, manifest, paired in zip(folder_names(args.manifest), manifests, pairs):
        text = embed_reports(pretrained, manifest.directory, paired.report_id, args.tokenizer is None)
        options = (args.checkpoint, args.cache, args.batch_size, args.device, args.lead_order or "", args.bf16)
        ecg = cached_embeddings(pretrained.model, manifest, *options)
        ecg_of_pairs = torch.from_numpy(np.ascontiguousarray(ecg[paired.rows]))
        directions = retrieval_directions(ecg_of_pairs, text, torch.from_numpy(paired.report.astype(np.int64)))
        result = Result(
            kind="retrieval",
            model=args.model_name,
            checkpoint=str(args.checkpoint),
            data_set=paired.data_set,
            label_set="",
            split=args.split,
            n_records=len(paired.rows),
            n_subjects=count_subjects(paired.subject_id),
            settings={
                "manifest": str(manifest.directory),
                "precision": precision_name(args.bf16),
                "bootstrap": args.bootstrap,
                "seed": args.seed,
            },
            metrics=figures(directions),
            intervals=recall_intervals(directions, paired.subject_id, args.bootstrap, args.seed) if args.bootstrap else {},
            notes=[
                f"{len(paired.rows)} records with {len(paired.report_id)} distinct reports"
                + (f"; {paired.without} records without a report are left out" if paired.without else "")
                + ".",
                "A copy of the right text is right. Intervals: subjects resampled as queries, the gallery as it is.",
            ],
            command=command,
        )
        write_result(args.results / f"retrieval-{name}", result)
        found.append((name, directions, result))
    table = retrieval_table(found)
    notes = [f"- {name}: {result.notes[0]}" for name, _, result in found]
    page = [
        f"# {table.title}\n",
        f"Checkpoint: `{args.checkpoint}`\n",
        table.markdown(),
        "\n".join(notes) + "\n",
        f"Command: `{command}`\n",
    ]
    for name, text in (("retrieval.md", "\n".join(page)), ("retrieval.csv", table.csv())):
        with atomic_path(args.results / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(table.markdown(), *notes, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
