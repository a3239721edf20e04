"""Estimate a measured number, such as the ejection fraction, from recordings, and compare it with the measurement.

A pre-trained model is asked by texts that name values: those of a teacher (--teacher, its prompts.npz), or ours or a file's
through the model's own text encoder (--value-texts). All texts are ranked by similarity; the estimate is the median of what
the first fifth of them says, the lower middle one of an even number. Where embeddings are Gaussians, samples of each give a
predictive interval. Beside it stand the mean of the training records, an encoder with random weights, and, where the
sidecar holds the recordings' own echocardiograms, the teacher's embeddings of these before the same texts: the ceiling.

A model that was fine-tuned for regression (task cmelt_regression) needs no texts.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.files import write_texts
from cmelt_plugin.data.teacher import Teacher
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.embedding.teacher_items import open_teacher_of
from cmelt_plugin.evaluation.finetuned.checkpoint import load_finetuned
from cmelt_plugin.evaluation.finetuned.regression import TASK, finetuned_values
from cmelt_plugin.evaluation.labelled_split import folder_names
from cmelt_plugin.evaluation.metrics.prompt_regression import SHARE
from cmelt_plugin.evaluation.options import (
    OPTIONS,
    CommandFacts,
    add_options,
    command_facts,
    load_ecg_model,
    load_text_model,
    typed_command,
)
from cmelt_plugin.evaluation.regress.candidates import TEACHER, Candidates, own_candidates, teacher_candidates
from cmelt_plugin.evaluation.regress.estimators import ceiling, centring_on, model_estimators, random_weights, train_mean
from cmelt_plugin.evaluation.regress.measured_split import MeasuredSplit, open_measured
from cmelt_plugin.evaluation.regress.options import add_value_options
from cmelt_plugin.evaluation.regress.results import MODEL, Estimator, regression_result, regression_table, write_regression
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.models.building import build_random
from cmelt_plugin.models.inference.scoring import choose_score, score_settings
from cmelt_plugin.option_types import command_parser

EXAMPLE = """examples:
  python -m cmelt_plugin.evaluation.regress --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-echo --teacher teachers/echo-clip --results results/lvef
  python -m cmelt_plugin.evaluation.regress --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-echo --value-texts lvef --score distance --results results/lvef-own-texts
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.regress", __doc__, EXAMPLE)
    add_options(result, list(OPTIONS))
    add_value_options(result)
    result.add_argument("--target", help="column of SPLIT.meta.parquet with the measured values (the measurement)")
    result.add_argument(
        "--centre", default="valid", metavar="SPLIT", help="also with the mean of this split taken away (valid); none: not"
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.regress", argv)
    if args.teacher is not None or args.value_texts is not None:
        named = results_by_texts(args, command)
    else:
        named = results_of_finetuned(args, command)
    table = regression_table(named)
    notes = [f"- {name}: {note}" for name, result in named for note in result.notes]
    page = [
        f"# {table.title}: {args.model_name}\n",
        f"Checkpoint: `{args.checkpoint}`\n",
        table.markdown(),
        "\n".join(notes) + "\n",
        f"Command: `{command}`\n",
    ]
    write_texts(args.results, {"regression.md": "\n".join(page), "regression.csv": table.csv()})
    print(table.markdown(), *notes, sep="\n")
    return 0


def results_of_finetuned(args: argparse.Namespace, command: str) -> list[tuple[str, Result]]:
    """A fine-tuned regression on every set.

    Raises:
        DataError: the checkpoint is none of such.
    """
    pretrained = load_ecg_model(args)
    if not pretrained.measurement:
        raise DataError(
            f"{args.checkpoint}: not fine-tuned for regression (task cmelt_regression); a pre-trained model needs texts that "
            "name values: --teacher DIR, or --value-texts lvef"
        )
    finetuned = load_finetuned(args.checkpoint, TASK)
    sets = [open_measured(directory, args.split, args.target or pretrained.measurement) for directory in args.manifest]
    facts = command_facts(args, command, {"precision": precision_name(args.bf16)})
    named = []
    for name, measured in zip(folder_names(args.manifest), sets):
        options = (args.batch_size, args.device, args.workers, args.bf16)
        value = finetuned_values(finetuned, measured.manifest, *options)[measured.rows]
        estimators = {MODEL: Estimator("fine-tuned", value), **train_mean(measured)}
        result = regression_result(measured, estimators, facts, finetuned.settings, [known_records(measured)])
        write_regression(args.results / name, result, measured, estimators[MODEL], None)
        named.append((name, result))
    return named


def results_by_texts(args: argparse.Namespace, command: str) -> list[tuple[str, Result]]:
    """A pre-trained model on every set, by texts that name values.

    Raises:
        DataError: there are no such texts, or the model is not of these.
    """
    if args.centre == args.split:
        raise DataError(f"--centre {args.centre}: is the split that is evaluated; name another one, or none")
    column = args.target or args.measurement
    sets = [open_measured(directory, args.split, column) for directory in args.manifest]
    pretrained = load_ecg_model(args) if args.teacher is not None else load_text_model(args)
    teacher = None
    if args.teacher is not None:
        teacher = open_teacher_of(pretrained, args.teacher)
        candidates = teacher_candidates(teacher, args.measurement)
    else:
        candidates = own_candidates(pretrained, args.value_texts)
    encoder = SplitEncoder(pretrained.model, args.cache, args.batch_size, args.workers, args.device, args.bf16)
    random = build_random(pretrained.cfg["model"], str(args.checkpoint), args.seed).to(args.device)
    if args.score is not None:
        choose_score(random, args.score, str(args.checkpoint))
    untrained = SplitEncoder(random, args.cache, args.batch_size, args.workers, args.device, args.bf16)
    shared = {"precision": precision_name(args.bf16), **score_settings(pretrained.model), "samples": args.samples}
    facts = command_facts(args, command, shared)
    named = []
    for name, measured in zip(folder_names(args.manifest), sets):
        named.append((name, evaluate_set(name, measured, encoder, untrained, candidates, teacher, facts, args)))
    return named


def known_records(measured: MeasuredSplit) -> str:
    """How many records are evaluated, in words."""
    return f"{len(measured.target)} records with a value of {measured.column}; {measured.unknown} without are left out."


def evaluate_set(
    name: str,
    measured: MeasuredSplit,
    encoder: SplitEncoder,
    untrained: SplitEncoder,
    candidates: Candidates,
    teacher: Teacher | None,
    facts: CommandFacts,
    args: argparse.Namespace,
) -> Result:
    """Evaluate one set and write its folder."""
    directory = measured.manifest.directory
    notes = [known_records(measured)]
    settings: dict[str, Any] = {"texts": candidates.texts, "prompts": candidates.source, "unit": candidates.unit}
    settings.update(n_texts=len(candidates.values), share=SHARE)
    centring = None
    if candidates.texts == TEACHER and args.centre != "none" and args.centre in available_splits(directory):
        centring = centring_on(encoder, Manifest.open(directory, args.centre), candidates)
        settings["modality_gap"] = centring.gap
        notes.append(
            f"Centred: without the mean embedding of the split {args.centre} and without that of the texts, which are "
            f"{centring.gap:.3f} apart."
        )
    estimators, first = model_estimators(encoder, measured, candidates, centring, args.samples, args.seed)
    estimators.update({**train_mean(measured), **random_weights(encoder, untrained, measured, candidates)})
    if teacher is not None:
        estimators.update(ceiling(encoder, measured, teacher, candidates))
    if first.low is not None:
        notes.append(f"Intervals of values: the middle 95 % of the estimates of {args.samples} samples of each embedding.")
    result = regression_result(measured, estimators, facts, settings, notes)
    write_regression(args.results / name, result, measured, estimators[MODEL], first.uncertainty)
    return result


if __name__ == "__main__":
    sys.exit(run(main))
