"""Metrics of a fine-tuned classifier or a linear probe trained by fairseq-hydra-train, with confidence intervals.

Scores one split of a labelled manifest directory with the classes, leads and pooling of the checkpoint. Thresholds for
F1, accuracy and the CinC 2021 score are chosen on the validation split, never on the split that is evaluated; without a
validation split those of the checkpoint, chosen on the validation data of its training, are used. Classes are matched by
name. fairseq-hydra-validate prints the same numbers.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from cmelt_plugin.data.batches.labelled import labels_by_name
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.finetuned.checkpoint import FinetunedModel, load_finetuned
from cmelt_plugin.evaluation.finetuned.table import classifier_table
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, open_labelled
from cmelt_plugin.evaluation.metrics.cinc2021 import load_cinc_weights
from cmelt_plugin.evaluation.metrics.classifier import CincScoring, ClassifierEvaluation, evaluate_classifier, probabilities
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.options import classifier_parser, typed_command
from cmelt_plugin.evaluation.result_files import Result, Scores, write_result

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.classify --checkpoint checkpoints/dx_12/checkpoint_best.pt \\
      --manifest manifests/cinc2021-dx --cinc-weights weights.csv --results results/dx_12
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = classifier_parser("cmelt_plugin.evaluation.classify", __doc__, EXAMPLE)
    result.add_argument("--valid", default="valid", help="split for thresholds, or none: those of the checkpoint (valid)")
    result.add_argument("--cinc-weights", help="weights.csv of the CinC Challenge 2021 (default: those used in training)")
    result.add_argument(
        "--cinc-threshold", help="decisions of its score: validation, or a probability such as 0.5 (default: as in training)"
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Score, print, write; returns the exit code.

    Raises:
        DataError: the checkpoint or the manifest cannot be used, or they do not belong together.
    """
    arguments = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.classify", argv)
    finetuned = load_finetuned(arguments.checkpoint, "cmelt_classification")
    split = open_labelled(arguments.manifest, arguments.split)
    thresholds, source = validation_thresholds(finetuned, arguments)
    evaluation, scores, labels = evaluate_split(finetuned, split, thresholds, arguments)
    print(classifier_table(evaluation, f"{arguments.manifest}/{arguments.split}"))
    print(f"  thresholds: {source}")
    if arguments.results is not None:
        result = result_of(finetuned, split, evaluation, arguments, source, command)
        stored = Scores(split.record_id, split.subject_id, evaluation.names, labels, scores)
        print(f"written: {write_result(arguments.results, result, stored)}")
    return 0


def validation_thresholds(finetuned: FinetunedModel, arguments: argparse.Namespace) -> tuple[np.ndarray | None, str]:
    """Thresholds ``[C]``, None where none are to be had or needed, and where they are from.

    Raises:
        DataError: the validation split is the split that is evaluated, or cannot be used.
    """
    if finetuned.task.get("problem") == "multi_class":
        return None, "none (the most probable class is the decision)"
    if arguments.valid == arguments.split:
        raise DataError(f"--valid {arguments.valid}: thresholds cannot come from the split that is evaluated; --valid none")
    if arguments.valid != "none" and arguments.valid in available_splits(arguments.manifest):
        manifest = Manifest.open(arguments.manifest, arguments.valid)
        labels = labels_by_name(manifest, finetuned.class_names)
        return choose_thresholds(labels, _scores(finetuned, manifest, arguments)), f"{arguments.manifest}/{arguments.valid}"
    known = finetuned.state.get("thresholds")
    if known is None:
        return None, "none (no validation data)"
    return np.asarray(known, dtype=np.float64), "validation data of the training"


def evaluate_split(
    finetuned: FinetunedModel, split: LabelledSplit, thresholds: np.ndarray | None, arguments: argparse.Namespace
) -> tuple[ClassifierEvaluation, np.ndarray, np.ndarray]:
    """Metrics, probabilities and labels ``[N, C]`` of a split, columns in the order of the checkpoint."""
    names = finetuned.class_names
    labels = labels_by_name(split.manifest, names)
    scores = _scores(finetuned, split.manifest, arguments)
    evaluation = evaluate_classifier(
        labels,
        scores,
        names,
        multi_class=finetuned.task.get("problem") == "multi_class",
        thresholds=thresholds,
        cinc=_cinc(finetuned, names, arguments),
        subjects=split.subject_id,
        n_bootstrap=arguments.bootstrap,
        seed=arguments.seed,
    )
    return evaluation, scores, labels


def result_of(
    finetuned: FinetunedModel,
    split: LabelledSplit,
    evaluation: ClassifierEvaluation,
    arguments: argparse.Namespace,
    thresholds: str,
    command: str,
) -> Result:
    """The result as it is written; a frozen encoder makes it a linear probe."""
    per_class = {name: metrics._asdict() for name, metrics in evaluation.per_class.items()}
    return Result(
        kind="linear_probe" if finetuned.settings["freeze"] == "encoder" else "finetune",
        model=arguments.model_name,
        checkpoint=str(arguments.checkpoint),
        data_set=split.data_set,
        label_set=split.label_set,
        split=arguments.split,
        n_records=evaluation.n_records,
        n_subjects=evaluation.n_subjects,
        settings={
            **finetuned.settings,
            "manifest": str(arguments.manifest),
            "thresholds": thresholds,
            "precision": precision_name(arguments.bf16),
            "bootstrap": arguments.bootstrap,
        },
        metrics=evaluation.metrics,
        intervals=evaluation.intervals,
        per_class=per_class,
        excluded=evaluation.excluded,
        command=command,
    )


def _scores(finetuned: FinetunedModel, manifest: Manifest, arguments: argparse.Namespace) -> np.ndarray:
    logits = finetuned.logits(manifest, arguments.batch_size, arguments.device, arguments.workers, arguments.bf16)
    return probabilities(logits, finetuned.task.get("problem") == "multi_class")


def _cinc(finetuned: FinetunedModel, names: Sequence[str], arguments: argparse.Namespace) -> CincScoring | None:
    """The file given, else the matrix the checkpoint was trained with, else none."""
    trained = finetuned.state.get("cinc_weights")
    if arguments.cinc_weights:
        classes, weights = load_cinc_weights(arguments.cinc_weights)
    elif trained is not None:
        classes, weights = trained["classes"], np.asarray(trained["weights"])
    else:
        return None
    return CincScoring.of(
        classes, weights, names, arguments.cinc_threshold or finetuned.task.get("cinc_threshold", "validation")
    )


if __name__ == "__main__":
    sys.exit(run(main))
