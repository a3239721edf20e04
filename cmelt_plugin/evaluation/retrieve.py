"""Retrieval between ECGs and reports: R@1, 5, 10 and median rank in both directions, with what chance would reach.

Among all pairs every record's report stands in the gallery, and a copy of the right text is right. Where many records
share a report, chance is high there; among distinct reports every text stands in the gallery once. Ranks count from 1,
and a wrong item that scores as high as the right one goes before it.

With --teacher also between ECGs and the echocardiograms of the sidecar, and between reports and these.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import atomic_path, write_texts
from cmelt_plugin.data.teacher import Teacher
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.pairs import PairedSplit, embed_reports, open_pairs, with_reports
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.embedding.teacher_items import item_embedding, open_teacher_of, teacher_pairs
from cmelt_plugin.evaluation.labelled_split import count_subjects, data_set_name, folder_names
from cmelt_plugin.evaluation.metrics.retrieval import (
    DEPTHS,
    Direction,
    recall_intervals,
    retrieval_directions,
    retrieval_metrics,
)
from cmelt_plugin.evaluation.options import TEXT_MODEL, add_options, load_text_model, typed_command
from cmelt_plugin.evaluation.result_files import RANKS_FILE, Result, write_result
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained
from cmelt_plugin.models.inference.scoring import score_settings
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.tables import DASH, TextTable, percent

EXAMPLE = """examples:
  python -m cmelt_plugin.evaluation.retrieve --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-ecg --split test --results results/retrieval
  python -m cmelt_plugin.evaluation.retrieve --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-echo --teacher teachers/echo-clip --results results/retrieval
"""
COMPANIONS = {"text": "reports", "echo": "echoes"}
"""Modality → what the items of a gallery without repeats are called."""


class Pairing(NamedTuple):
    """N records of a split, each with an embedding and one of U companions.

    Attributes:
        names: the two sides, ``ecg``, ``text`` or ``echo``.
        rows: int64 ``[N]``, of the manifest.
        first: N embeddings.
        second: U embeddings of companions.
        companion: int64 ``[N]``.
        note: what was left out.
    """

    names: tuple[str, str]
    rows: np.ndarray
    first: Embedding
    second: Embedding
    companion: np.ndarray
    note: str


def retrieval_table(named: Sequence[tuple[str, Sequence[Direction], Result]]) -> TextTable:
    """One row per set, gallery and direction."""
    head = ["set", "gallery", "direction", "queries", "items"]
    for k in DEPTHS:
        head += [f"R@{k}", f"R@{k}, 95 %", f"R@{k}, chance"]
    head += ["median rank", "median rank, chance"]
    rows = []
    for name, directions, result in named:
        for direction in directions:
            second = result.settings.get("between", ["ecg", "text"])[1]
            row = [name, "all pairs" if direction.gallery == "pairs" else f"distinct {COMPANIONS[second]}"]
            row += [direction.name.replace("_to_", " → "), str(len(direction.ranks)), str(direction.gallery_size)]
            for k in DEPTHS:
                interval = result.intervals.get(f"{direction.name}_r{k}") if direction.gallery == "pairs" else None
                row += [percent(direction.recall(k)), DASH if interval is None else " to ".join(map(percent, interval))]
                row.append(percent(direction.chance_recall(k)))
            rows.append([*row, f"{direction.median_rank:g}", f"{direction.chance_median_rank:g}"])
    companions = list(dict.fromkeys(COMPANIONS[result.settings.get("between", ["ecg", "text"])[1]] for *_, result in named))
    return TextTable(f"Retrieval between ECGs and {' and '.join(companions)} (recall in %)", head, rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.retrieve", __doc__, EXAMPLE)
    add_options(result, TEXT_MODEL)
    result.add_argument("--teacher", type=Path, metavar="DIR", help="teacher sidecar: also to and from its echocardiograms")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.retrieve", argv)
    manifests = [Manifest.open(directory, args.split) for directory in args.manifest]
    pairs = [open_pairs(manifest) if args.teacher is None else with_reports(manifest) for manifest in manifests]
    pretrained = load_text_model(args)
    teacher = None if args.teacher is None else open_teacher_of(pretrained, args.teacher)
    encoder = SplitEncoder(pretrained.model, args.cache, args.batch_size, device=args.device, bf16=args.bf16)
    evaluated = []
    for name, manifest, paired in zip(folder_names(args.manifest), manifests, pairs):
        for pairing in pairings(manifest, paired, teacher, pretrained, encoder, args.tokenizer is None):
            device = pretrained.device
            index = torch.from_numpy(pairing.companion)
            directions = retrieval_directions(pretrained.model, pairing.first, pairing.second, index, device, pairing.names)
            result = pairing_result(manifest, pairing, directions, pretrained, command, args)
            other = "" if pairing.names == ("ecg", "text") else f"-{'-'.join(pairing.names)}"
            write_pairing(args.results / f"retrieval-{name}{other}", result, manifest, pairing, directions)
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


def pairings(
    manifest: Manifest,
    paired: PairedSplit,
    teacher: Teacher | None,
    pretrained: Pretrained,
    encoder: SplitEncoder,
    use_token_files: bool,
) -> list[Pairing]:
    """What can be retrieved on a split: ECGs and reports, with a teacher also ECGs and echoes, and reports and echoes.

    Raises:
        DataError: the sidecar holds fewer than two echocardiograms of the split.
    """
    ecg = encoder.embeddings(manifest)
    result = []
    text = None
    if teacher is None or len(paired.report_id) > 1:
        text = embed_reports(pretrained, manifest.directory, paired.report_id, encoder.cache, use_token_files)
        first = ecg.select(torch.from_numpy(paired.rows))
        without = f"; {paired.without} records without a report are left out" if paired.without else ""
        note = f"{len(paired.rows)} records with {len(paired.report_id)} distinct reports{without}."
        result.append(Pairing(("ecg", "text"), paired.rows, first, text, paired.report, note))
    if teacher is None:
        return result
    items = teacher_pairs(manifest, teacher)
    if len(items.item_row) < 2:
        raise DataError(
            f"{manifest.directory}/{manifest.split}.meta.parquet: {len(items.item_row)} echocardiograms of {teacher.path}, "
            "retrieval needs two; teacher_id must name those of the sidecar"
        )
    echo = item_embedding(teacher, items.item_row)
    without = f"; {items.without} records name none" if items.without else ""
    without += f"; {items.unknown} name one that the sidecar does not hold" if items.unknown else ""
    note = f"{len(items.rows)} records with {len(items.item_row)} distinct echocardiograms{without}."
    first = ecg.select(torch.from_numpy(items.rows))
    result.append(Pairing(("ecg", "echo"), items.rows, first, echo, items.item, note))
    both, of_text, of_echo = np.intersect1d(paired.rows, items.rows, return_indices=True)
    used, companion = np.unique(items.item[of_echo], return_inverse=True)
    if text is not None and len(used) > 1:
        first = text.select(torch.from_numpy(paired.report[of_text]))
        note = f"{len(both)} records with both a report and an echocardiogram."
        second = echo.select(torch.from_numpy(used))
        result.append(Pairing(("text", "echo"), both, first, second, companion.reshape(-1), note))
    return result


def pairing_result(
    manifest: Manifest,
    pairing: Pairing,
    directions: Sequence[Direction],
    pretrained: Pretrained,
    command: str,
    args: argparse.Namespace,
) -> Result:
    """The result of one pairing on one split."""
    meta = manifest.meta(["subject_id", "source"])
    subjects = meta["subject_id"].take(pairing.rows).to_pylist()
    own: dict[str, Any] = {} if args.teacher is None else {"between": list(pairing.names), "teacher": str(args.teacher)}
    copy = "text" if pairing.names == ("ecg", "text") else "echocardiogram"
    return Result(
        kind="retrieval",
        model=args.model_name,
        checkpoint=str(args.checkpoint),
        data_set=data_set_name(manifest.directory, meta["source"].to_pylist()),
        label_set="",
        split=args.split,
        n_records=len(pairing.rows),
        n_subjects=count_subjects(subjects),
        settings={
            "manifest": str(manifest.directory),
            "precision": precision_name(args.bf16),
            **score_settings(pretrained.model),
            "bootstrap": args.bootstrap,
            "seed": args.seed,
            **own,
        },
        metrics=retrieval_metrics(directions),
        intervals=recall_intervals(directions, subjects, args.bootstrap, args.seed) if args.bootstrap else {},
        notes=[
            pairing.note,
            f"A copy of the right {copy} is right. Intervals: subjects resampled as queries, the gallery as it is.",
        ],
        command=command,
    )


def write_pairing(folder: Path, result: Result, manifest: Manifest, pairing: Pairing, directions: Sequence[Direction]) -> None:
    """Write a result folder; first the rank of each record's companion among all pairs, both ways."""
    ids = manifest.meta(["record_id"])["record_id"].take(pairing.rows).to_pylist()
    over_pairs = [direction for direction in directions if direction.gallery == "pairs"]
    with atomic_path(folder / RANKS_FILE) as temporary:
        np.savez(
            temporary,
            record_id=np.asarray(ids, dtype=np.str_),
            names=np.asarray([direction.name for direction in over_pairs], dtype=np.str_),
            ranks=np.stack([direction.ranks for direction in over_pairs]),
        )
    write_result(folder, result)


if __name__ == "__main__":
    sys.exit(run(main))
