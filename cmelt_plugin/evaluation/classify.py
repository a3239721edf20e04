"""Figures of a fine-tuned classifier or a linear probe trained by fairseq-hydra-train, with confidence intervals.

Scores one split of a labelled manifest directory with the classes, leads and pooling of the checkpoint. Thresholds for
F1, accuracy and the CinC 2021 score are chosen on the validation split, never on the split that is evaluated; without a
validation split those of the checkpoint, chosen on the validation data of its training, are used. Classes are matched by
name. fairseq-hydra-validate prints the same figures.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin import option_types
from cmelt_plugin.data.batches.labelled import labels_by_name
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.precision import add_precision_argument, precision_name
from cmelt_plugin.evaluation.finetuned.checkpoint import FinetunedModel, load_finetuned
from cmelt_plugin.evaluation.finetuned.table import classifier_table
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, open_labelled
from cmelt_plugin.evaluation.metrics.cinc2021 import load_cinc_weights
from cmelt_plugin.evaluation.metrics.classifier import CincScoring, Judgement, judge_scores, probabilities
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.result_files import Result, Scores, write_result

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.classify --checkpoint checkpoints/dx_12/checkpoint_best.pt \\
      --manifest manifests/cinc2021-dx --cinc-weights weights.csv --results results/dx_12
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m cmelt_plugin.evaluation.classify",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_checkpoint_arguments(result)
    result.add_argument("--valid", default="valid", help="split for thresholds, or none: those of the checkpoint (valid)")
    result.add_argument("--cinc-weights", help="weights.csv of the CinC Challenge 2021 (default: those used in training)")
    result.add_argument(
        "--cinc-threshold", help="decisions of its score: validation, or a probability such as 0.5 (default: as in training)"
    )
    return result


def add_checkpoint_arguments(result: argparse.ArgumentParser) -> None:
    """Options of the commands that evaluate a checkpoint on a split."""
    result.add_argument("--checkpoint", required=True, help="checkpoint of fairseq-hydra-train")
    result.add_argument("--manifest", type=Path, required=True, help="manifest directory")
    result.add_argument("--split", default="test", help="split to evaluate (test)")
    result.add_argument("--results", type=Path, help="folder for result.json and scores.npz (default: only print)")
    result.add_argument("--model-name", default="ours", help="name of the model in tables (ours)")
    result.add_argument(
        "--bootstrap", type=option_types.natural, default=1000, help="resamples for 95 %% intervals, 0 for none (1000)"
    )
    result.add_argument("--seed", type=option_types.seed, default=0, help="of the resamples (0)")
    result.add_argument("--batch-size", type=option_types.count, default=64, help="records at a time (64)")
    result.add_argument("--workers", type=option_types.natural, default=0, help="processes that read ahead (0)")
    result.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    add_precision_argument(result)


def main(argv: Sequence[str] | None = None) -> int:
    """Score, print, write; returns the exit code.

    Raises:
        DataError: the checkpoint or the manifest cannot be used, or they do not belong together.
    """
    arguments = parser().parse_args(argv)
    finetuned = load_finetuned(arguments.checkpoint, "cmelt_classification")
    split = open_labelled(arguments.manifest, arguments.split)
    thresholds, source = validation_thresholds(finetuned, arguments)
    judgement, scores, labels = judge_split(finetuned, split, thresholds, arguments)
    print(classifier_table(judgement, f"{arguments.manifest}/{arguments.split}"))
    print(f"  thresholds: {source}")
    if arguments.results is not None:
        result = result_of(finetuned, split, judgement, arguments, source)
        kept = Scores(split.record_id, split.subject_id, judgement.names, labels, scores)
        print(f"written: {write_result(arguments.results, result, kept)}")
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
        labels = labels_by_name(manifest, list(finetuned.model.cfg.class_names))
        return choose_thresholds(labels, _scores(finetuned, manifest, arguments)), f"{arguments.manifest}/{arguments.valid}"
    known = finetuned.state.get("thresholds")
    if known is None:
        return None, "none (no validation data)"
    return np.asarray(known, dtype=np.float64), "validation data of the training"


def judge_split(
    finetuned: FinetunedModel, split: LabelledSplit, thresholds: np.ndarray | None, arguments: argparse.Namespace
) -> tuple[Judgement, np.ndarray, np.ndarray]:
    """Figures, probabilities and labels ``[N, C]`` of a split, columns in the order of the checkpoint."""
    names = list(finetuned.model.cfg.class_names)
    labels = labels_by_name(split.manifest, names)
    scores = _scores(finetuned, split.manifest, arguments)
    judgement = judge_scores(
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
    return judgement, scores, labels


def result_of(
    finetuned: FinetunedModel, split: LabelledSplit, judgement: Judgement, arguments: argparse.Namespace, thresholds: str
) -> Result:
    """The result as it is written; a frozen encoder makes it a linear probe."""
    per_class = {name: one._asdict() for name, one in judgement.figures.per_class.items()}
    return Result(
        kind="linear_probe" if finetuned.settings["freeze"] == "encoder" else "finetune",
        model=arguments.model_name,
        checkpoint=str(arguments.checkpoint),
        data_set=split.data_set,
        label_set=split.label_set,
        split=arguments.split,
        n_records=judgement.n_records,
        n_subjects=judgement.n_subjects,
        settings={
            **finetuned.settings,
            "manifest": str(arguments.manifest),
            "thresholds": thresholds,
            "precision": precision_name(arguments.bf16),
            "bootstrap": arguments.bootstrap,
        },
        metrics=judgement.metrics,
        intervals=judgement.intervals,
        per_class=per_class,
        excluded=judgement.figures.excluded,
        command=shlex.join(["python", "-m", "cmelt_plugin.evaluation.classify", *sys.argv[1:]]),
    )


def _scores(finetuned: FinetunedModel, manifest: Manifest, arguments: argparse.Namespace) -> np.ndarray:
    logits = finetuned.logits(manifest, arguments.batch_size, arguments.device, arguments.workers, arguments.bf16)
    return probabilities(logits, finetuned.task.get("problem") == "multi_class")


def _cinc(finetuned: FinetunedModel, names: Sequence[str], arguments: argparse.Namespace) -> CincScoring | None:
    """The file given, else the matrix the checkpoint was trained with, else none."""
    kept = finetuned.state.get("cinc_weights")
    if arguments.cinc_weights:
        classes, weights = load_cinc_weights(arguments.cinc_weights)
    elif kept is not None:
        classes, weights = kept["classes"], np.asarray(kept["weights"])
    else:
        return None
    return CincScoring.of(
        classes, weights, names, arguments.cinc_threshold or finetuned.task.get("cinc_threshold", "validation")
    )


if __name__ == "__main__":
    sys.exit(run(main))
