"""Zero-shot classification of labelled manifest directories with a pre-trained checkpoint.

The ECG encoder goes over every split once; class texts are embedded once per set. Class texts come from --prompts, else
from the directory's prompts.json, else from the texts of this package for the directory's label set; --prompt-kind asks
for the latter by kind. Each set gives a result folder with its scores below --results, and all of them a table.

F1 and accuracy need thresholds, which are chosen on validation data, never on the split that is evaluated.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.embedding.records import cached_embeddings
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, folder_names, open_labelled
from cmelt_plugin.evaluation.options import (
    add_pretrained_arguments,
    load_contrastive,
    typed_command,
)
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.zero_shot.class_texts import ClassTexts, choose_class_texts, embed_class_texts
from cmelt_plugin.evaluation.zero_shot.evaluate import (
    Run,
    evaluate,
    evaluate_shift,
    shift_sources,
    validation_thresholds,
    write_evaluation,
)
from cmelt_plugin.evaluation.zero_shot.tables import (
    TableTexts,
    class_table,
    prompts_table,
    published_table,
    shift_table,
    summary_table,
)
from cmelt_plugin.models.pretrained import Pretrained
from cmelt_plugin.prompts import KINDS

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.zero_shot --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/ptb-xl-super manifests/cpsc2018 manifests/csn --shift --results results/zero-shot
"""


class PlannedSet(NamedTuple):
    """A set to evaluate, with everything found before the first recording is read.

    Attributes:
        name: of its folder and rows.
        test: records and labels.
        valid: validation data for thresholds, or None.
        texts: one entry per kind of class text.
    """

    name: str
    test: LabelledSplit
    valid: LabelledSplit | None
    texts: list[ClassTexts]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m cmelt_plugin.evaluation.zero_shot",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_pretrained_arguments(result)
    result.add_argument("--prompts", help="class texts: a JSON file, or one of our label sets")
    kinds = result.add_mutually_exclusive_group()
    kinds.add_argument("--prompt-kind", choices=KINDS, help="our texts of this kind (default: as the directory has them)")
    kinds.add_argument("--compare-prompts", nargs="+", choices=KINDS, metavar="KIND", help="several kinds, side by side")
    result.add_argument("--thresholds-from", default="valid", help="split for thresholds, or none (valid)")
    result.add_argument(
        "--thresholds-manifest", type=Path, help="take thresholds from this directory, for sets without validation data"
    )
    result.add_argument("--shift", action="store_true", help="also the class mappings of paper Table 11 (Table 4)")
    result.add_argument("--keep-embeddings", action="store_true", help="write embeddings.npz, for t-SNE")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.zero_shot", argv)
    planned = [plan_set(name, directory, args) for name, directory in zip(folder_names(args.manifest), args.manifest)]
    if args.shift and not any(shift_sources(each.test.label_set) for each in planned):
        raise DataError("--shift: none of the manifests has one of the label sets of Table 11: ptb-xl-super, cpsc2018, csn")
    pretrained = load_contrastive(args)
    shared = Run(args.model_name, str(args.checkpoint), command, args.bootstrap, args.seed, precision_name(args.bf16))

    named: list[tuple[str, Result]] = []
    shifted: list[Result] = []
    for each in planned:
        found, shifts = evaluate_set(each, pretrained, shared, args)
        named += [(each.name, result) for result in found]
        shifted += shifts
    tables = {"zero_shot": summary_table(_with_kind(named)), "zero_shot_classes": class_table(_with_kind(named))}
    if args.compare_prompts:
        tables["prompts"] = prompts_table(named)
    if shifted:
        tables["shift"] = shift_table(shifted)
    for name, number, results in (("paper_table_3", "3", [result for _, result in named]), ("paper_table_4", "4", shifted)):
        beside = published_table(number, results)
        if beside is not None:
            tables[name] = beside
    write_tables(args.results, tables, shared, named)
    for table in tables.values():
        print(f"\n{table.markdown()}", end="")
    print(f"\n{args.results}: {len(named)} results, {len(shifted)} of distribution shift, tables in zero_shot.md and *.csv")
    return 0


def plan_set(name: str, directory: Path, args: argparse.Namespace) -> PlannedSet:
    """Open what a set needs.

    Raises:
        DataError: the split, its labels or class texts are missing, or thresholds would come from the evaluated split.
    """
    test = open_labelled(directory, args.split)
    kinds = args.compare_prompts or [args.prompt_kind]
    texts = [choose_class_texts(directory, test.names, kind, args.prompts) for kind in dict.fromkeys(kinds)]
    valid = None
    if args.thresholds_from != "none":
        source = args.thresholds_manifest or directory
        if args.thresholds_from == args.split and source.resolve() == directory.resolve():
            raise DataError(
                f"--thresholds-from {args.thresholds_from}: thresholds chosen on the split that is evaluated flatter F1 and "
                "accuracy; choose another split, or none"
            )
        if args.thresholds_manifest is not None or args.thresholds_from in available_splits(source):
            valid = open_labelled(source, args.thresholds_from)
        if valid is not None and valid.data_set == test.data_set and set(valid.record_id) & set(test.record_id):
            raise DataError(
                f"{source}, split {args.thresholds_from}: holds records of {directory}, split {args.split}; thresholds must "
                "come from other records than those they are judged by"
            )
    return PlannedSet(name, test, valid, texts)


def evaluate_set(
    planned: PlannedSet, pretrained: Pretrained, shared: Run, args: argparse.Namespace
) -> tuple[list[Result], list[Result]]:
    """Evaluate one set and write its folders: a result per kind of text, and those of distribution shift (first kind)."""
    test, valid = planned.test, planned.valid
    options = (args.checkpoint, args.cache, args.batch_size, args.device, args.lead_order or "", args.bf16)
    ecg = cached_embeddings(pretrained.model, test.manifest, *options)
    valid_ecg = None if valid is None else cached_embeddings(pretrained.model, valid.manifest, *options)
    results, shifts = [], []
    for texts in planned.texts:
        classes = embed_class_texts(pretrained, test.manifest.directory, texts, args.tokenizer is None)
        thresholds = None
        notes = ["No validation data, hence no thresholds, F1 and accuracy."]
        if valid is not None and valid_ecg is not None:
            thresholds, pairs = validation_thresholds(test, valid, valid_ecg, classes)
            told = ", ".join(f"{name} by {other}" for name, other in pairs.items()) or "none"
            same = valid.label_set == test.label_set
            notes = [] if same else [f"Thresholds come from classes of another label set: {told}."]
        found = evaluate(test, ecg, classes, texts, shared, thresholds, notes)
        folder = args.results / (planned.name if len(planned.texts) == 1 else f"{planned.name}-{texts.kind}")
        write_evaluation(folder, found, texts, ecg if args.keep_embeddings else None)
        results.append(found.result)
        for source in shift_sources(test.label_set) if args.shift and texts is planned.texts[0] else ():
            shift = evaluate_shift(found, test, source, shared)
            write_evaluation(args.results / f"shift-{source}-to-{planned.name}", shift)
            shifts.append(shift.result)
    return results, shifts


def write_tables(folder: Path, tables: dict[str, TableTexts], shared: Run, named: Sequence[tuple[str, Result]]) -> None:
    """Write ``zero_shot.md`` with all tables, and each as CSV."""
    notes = [f"- {name}: {note}" for name, result in _with_kind(named) for note in result.notes]
    lines = [f"# Zero-shot: {shared.model}\n", f"Checkpoint: `{shared.checkpoint}`\n"]
    lines += [table.markdown() for table in tables.values()]
    if shared.bootstrap:
        lines.append(f"low, high: 95 % percentile interval, {shared.bootstrap} resamples of subjects.\n")
    if notes:
        lines.append("\n".join(notes) + "\n")
    lines.append(f"Command: `{shared.command}`\n")
    _write(folder / "zero_shot.md", "\n".join(lines))
    for name, table in tables.items():
        _write(folder / f"{name}.csv", table.csv())


def _with_kind(named: Sequence[tuple[str, Result]]) -> list[tuple[str, Result]]:
    """Names told apart by kind of text where a set occurs more than once."""
    names = [name for name, _ in named]
    return [(f"{name} ({result.settings['prompt_kind']})" if names.count(name) > 1 else name, result) for name, result in named]


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(main))
