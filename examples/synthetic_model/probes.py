"""Linear probes of one encoder on PTB-XL: features chosen within folds 1 to 8, then 1, 10 and 100 % of their labels.

A probe is trained on pooled states or on the embeddings that are compared with texts, as they are or standardised. Which of the
four is decided for each encoder by cross-validation within folds 1 to 8 (two folds are left out at a time), by macro AUC over
all label sets. Probes of the chosen features are then trained on parts of folds 1 to 8 and tested once on folds 9 and 10. The
protocol is that of cmelt_plugin.evaluation.linear_probe, without validation data: the 200th epoch is tested.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin import option_types

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # examples/ is not installed

from cmelt_plugin.data.files import write_json
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, open_labelled
from cmelt_plugin.evaluation.linear_probe.runs import MEAN, POOLED, train_parts
from cmelt_plugin.evaluation.linear_probe.train import ProbeSettings
from cmelt_plugin.evaluation.low_data import PUBLISHED_SEED, subset_rows
from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.evaluation.options import CommandFacts, load_text_model, typed_command
from cmelt_plugin.evaluation.result_files import write_result
from examples.synthetic_model.measures import chosen_columns, measured
from examples.synthetic_model.proof_steps import TASKS
from preprocess.ptb_xl import fold_numbers, read_database

FRACTIONS = (0.01, 0.1, 1.0)
CHOICES = [(kind, standardise) for kind in (POOLED, MEAN) for standardise in (False, True)]
LEFT_OUT = ("1-2", "3-4", "5-6", "7-8")
CHOICE_FILE = "choice.json"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--checkpoint", required=True, help="model whose encoder is probed")
    result.add_argument("--ptb-xl", type=Path, required=True, help="folder of PTB-XL, for the folds")
    result.add_argument(
        "--manifests", type=Path, required=True, help="folder of the manifest directories super, sub, form, rhythm"
    )
    result.add_argument("--results", type=Path, required=True, help="folder for the results")
    result.add_argument("--seeds", type=option_types.count, default=5, help="parts of the labels, and initial weights (5)")
    result.add_argument("--bootstrap", type=option_types.natural, default=1000, help="resamples for intervals (1000)")
    return result


def in_folds(split: LabelledSplit, fold: dict[str, str], folds: str) -> np.ndarray:
    """Rows of the records that are of ``folds``, int."""
    wanted = set(fold_numbers(folds))
    return np.flatnonzero([fold[record] in wanted for record in split.record_id])


def cross_validated(
    split: LabelledSplit, features: np.ndarray, fold: dict[str, str], standardise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of folds 1 to 8, and logits ``[N, C]`` of probes that did not see the two folds of a record."""
    rows = in_folds(split, fold, "1-8")
    scores = np.zeros(split.labels.shape, dtype=np.float32)
    for folds in LEFT_OUT:
        tested = in_folds(split, fold, folds)
        parts = [np.setdiff1d(rows, tested)]
        settings = ProbeSettings(standardise=standardise, select="last")
        (probe,) = train_parts(f"without {folds}", features, split.labels, parts, settings, None, 0)
        scores[tested] = probe.scores(features[tested])
    return rows, scores


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    table = read_database(args.ptb_xl)
    fold = dict(zip(table["ecg_id"], table["strat_fold"]))
    args.device, args.model_name = "cpu", "ours"
    encoder = SplitEncoder(load_text_model(args).model)
    facts = CommandFacts("ours", args.checkpoint, typed_command("examples.synthetic_model.probes", argv), args.bootstrap)
    splits = {task: open_labelled(args.manifests / task, "test") for task in TASKS}
    features = {
        (task, kind): encoder.features(split.manifest) if kind == POOLED else encoder.embeddings(split.manifest).mean.numpy()
        for task, split in splits.items()
        for kind in (POOLED, MEAN)
    }

    validated = {}
    for task, split in splits.items():
        for kind, standardise in CHOICES:
            rows, scores = cross_validated(split, features[task, kind], fold, standardise)
            columns = chosen_columns(split.labels[rows])
            names = [name for name, chosen in zip(split.names, columns) if chosen]
            area = macro_auc(split.labels[rows][:, columns], scores[rows][:, columns], names).macro
            validated[task, kind, standardise] = (area, rows, columns, scores)
    means = [float(np.mean([validated[(task, *choice)][0] for task in TASKS])) for choice in CHOICES]
    kind, standardise = CHOICES[int(np.argmax(means))]
    settings = {"features": kind, "standardise": standardise}

    for task, split in splits.items():
        _, rows, columns, scores = validated[task, kind, standardise]
        result, stored = measured("linear_probe", split, rows, columns, [scores], facts, {**settings, "folds": "1-8"})
        write_result(args.results / f"{task}-validated", result, stored)
        tested = in_folds(split, fold, "9-10")
        columns = chosen_columns(split.labels[tested], trained=split.labels[rows])
        subjects = [split.subject_id[row] for row in rows]
        for fraction in FRACTIONS:
            seeds = range(PUBLISHED_SEED, PUBLISHED_SEED + args.seeds)
            parts = [rows[subset_rows(split.labels[rows], fraction, "stratified", seed, subjects)] for seed in seeds]
            probes = train_parts(
                f"{task}, {100 * fraction:g} %",
                features[task, kind],
                split.labels,
                parts,
                ProbeSettings(standardise=standardise, select="last"),
                None,
                0,
            )
            logits = [probe.scores(features[task, kind]) for probe in probes]
            more = {"fraction": fraction, "subset": "stratified", "n_train": len(parts[0]), "folds": "9-10"}
            result, stored = measured("linear_probe", split, tested, columns, logits, facts, {**settings, **more})
            write_result(args.results / f"{task}-{100 * fraction:g}pct", result, stored)
    names = [f"{kind}{', standardised' if standardise else ''}" for kind, standardise in CHOICES]
    write_json(args.results / CHOICE_FILE, {"chosen": names[int(np.argmax(means))], "macro_auc": dict(zip(names, means))})
    print(
        f"{args.results}: features {names[int(np.argmax(means))]}; "
        + ", ".join(f"{n} {100 * m:.1f}" for n, m in zip(names, means))
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
