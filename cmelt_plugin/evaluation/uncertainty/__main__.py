"""What the variances of a model's embeddings are worth.

The uncertainty of a recording is the sum of the variances of its embedding. With --of, the metrics of finished evaluations of
the same split (zero-shot, probes, fine-tuning, regression, retrieval) are split at its median and into ten bins of equal
counts, and the error of each record is correlated with it. And it is measured on recordings made worse: with white noise,
and with leads lost. How often it then rises at every step is printed beside what chance would give; nothing guarantees it.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import atomic_path, write_texts
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.kinds import require_gaussians
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.labelled_split import count_subjects, data_set_name
from cmelt_plugin.evaluation.metrics.uncertainty import N_BINS
from cmelt_plugin.evaluation.options import OPTIONS, add_options, load_ecg_model, typed_command
from cmelt_plugin.evaluation.result_files import UNCERTAINTY_FILE, Result, StoredResult, read_result, write_result
from cmelt_plugin.evaluation.uncertainty.analysis import (
    Comparison,
    compare,
    disturbance_metrics,
    error_correlations,
    has_collapsed,
    match_records,
)
from cmelt_plugin.evaluation.uncertainty.disturbances import LEADS_LOST, LOST, NOISE, SNR, disturbed_uncertainty
from cmelt_plugin.evaluation.uncertainty.outcomes import read_outcome
from cmelt_plugin.evaluation.uncertainty.tables import CORRELATION, uncertainty_tables
from cmelt_plugin.option_types import command_parser

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.uncertainty --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-echo --of results/lvef/mimic-iv-echo results/zero-shot/mimic-iv-echo \\
      --results results/uncertainty
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.uncertainty", __doc__, EXAMPLE)
    manifest = {"nargs": None, "help": "manifest directory"}
    seed = {"help": "of the bootstrap, the noise and the order of lost leads (0)"}
    names = [name for name in OPTIONS if name not in ("tokenizer", "score")]
    add_options(result, names, {"manifest": manifest, "seed": seed})
    result.add_argument("--of", type=Path, nargs="+", default=[], metavar="RESULT", help="result folders of that split")
    result.add_argument(
        "--snr", type=_decibels, nargs="*", default=list(SNR), help=f"dB of noise ({_shown(SNR)}); none: no noise"
    )
    result.add_argument(
        "--lost", type=option_types.count, nargs="*", default=list(LOST), help=f"lost leads ({_shown(LOST)}); none: not"
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    args.snr, args.lost = sorted(set(args.snr), reverse=True), sorted(set(args.lost))
    if args.lost and args.lost[-1] > len(LEADS):
        raise DataError(f"--lost {args.lost[-1]}: a recording has {len(LEADS)} leads")
    command = typed_command("cmelt_plugin.evaluation.uncertainty", argv)
    manifest = Manifest.open(args.manifest, args.split)
    meta = manifest.meta(["record_id", "subject_id", "source"])
    record_id, subject_id = (meta[name].to_pylist() for name in ("record_id", "subject_id"))
    evaluations = [read_result(folder) for folder in args.of]
    split = f"{args.manifest}/{args.split}"
    outcomes = [read_outcome(stored) for stored in evaluations]
    rows = [match_records(outcome, record_id, str(stored.folder), split) for outcome, stored in zip(outcomes, evaluations)]
    pretrained = load_ecg_model(args)
    require_gaussians(pretrained)
    encoder = SplitEncoder(pretrained.model, args.cache, args.batch_size, args.workers, args.device, args.bf16)
    uncertainty = encoder.embeddings(manifest).uncertainty().double().numpy()

    metrics = {"mean": float(uncertainty.mean()), "standard_deviation": float(uncertainty.std())}
    notes = ["Uncertainty: the sum of the variances of an embedding. Low: up to the median of the evaluated records."]
    if has_collapsed(uncertainty):
        notes.append("It is the same for all records: the variances have collapsed and say nothing.")
    comparisons: dict[tuple[str, str], Comparison] = {}
    for label, outcome, of_split in zip(_labels(evaluations), outcomes, rows):
        subjects = [subject_id[row] for row in of_split]
        for name, metric in outcome.metrics.items():
            one = compare(metric, uncertainty[of_split], subjects, args.bootstrap, args.seed)
            comparisons[label, name] = one
            values = {"all": one.every, "low": one.low, "high": one.high, "pearson": one.trend.pearson}
            metrics.update({f"{label}/{name}/{part}": value for part, value in values.items()})
        for name, value in error_correlations(outcome, uncertainty[of_split]).items():
            metrics[f"{CORRELATION}{label}/{name}"] = value
    steps = {NOISE: args.snr, LEADS_LOST: args.lost}
    levels = {}
    if args.snr or args.lost:
        options = (args.seed, args.batch_size, args.device, args.workers, args.bf16)
        disturbed = disturbed_uncertainty(pretrained.model, manifest, args.snr, args.lost, *options)
        levels = {name: values for name, values in disturbed.items() if steps[name]}
        metrics.update(disturbance_metrics(levels))
        notes.append("Noise: white, its power that of the whole record over the ratio; leads are lost in a random order.")
    result = Result(
        kind="uncertainty",
        model=args.model_name,
        checkpoint=str(args.checkpoint),
        data_set=data_set_name(args.manifest, meta["source"].to_pylist()),
        label_set="",
        split=args.split,
        n_records=len(manifest),
        n_subjects=count_subjects(subject_id),
        settings={
            "manifest": str(args.manifest),
            "precision": precision_name(args.bf16),
            "of": [str(folder) for folder in args.of],
            "compared": [[label, name, one.counts[0]] for (label, name), one in comparisons.items()],
            "levels": {name: [float(step) for step in steps[name]] for name in levels},
            "mean_at_levels": {name: values.mean(axis=0, dtype=np.float64).tolist() for name, values in levels.items()},
            "bootstrap": args.bootstrap,
            "seed": args.seed,
        },
        metrics={name: value for name, value in metrics.items() if not np.isnan(value)},
        intervals={
            f"{label}/{name}/{part}": pair
            for (label, name), one in comparisons.items()
            for part, pair in zip(("all", "low", "high"), one.intervals)
            if pair is not None
        },
        notes=notes,
        command=command,
    )
    write_uncertainty(args.results, result, record_id, uncertainty, comparisons, levels)
    shown = uncertainty_tables(result)
    head = f"{split}: {len(manifest)} records, uncertainty {metrics['mean']:.4g} ± {metrics['standard_deviation']:.4g}"
    page = [f"# Uncertainty: {args.model_name}\n", f"Checkpoint: `{args.checkpoint}`\n", f"{head}\n"]
    page += [table.markdown() for table in shown] + ["\n".join(f"- {note}" for note in notes) + "\n", f"Command: `{command}`\n"]
    write_texts(args.results, {"uncertainty.md": "\n".join(page)})
    print(head, *(table.markdown() for table in shown), *notes, sep="\n")
    return 0


def write_uncertainty(
    folder: Path,
    result: Result,
    record_id: Sequence[str],
    uncertainty: np.ndarray,
    comparisons: dict[tuple[str, str], Comparison],
    levels: dict[str, np.ndarray],
) -> None:
    """Write a result folder; first the uncertainty of each record, also disturbed, and the metrics in bins."""
    arrays: dict[str, Any] = {
        "record_id": np.asarray(record_id, dtype=np.str_),
        "uncertainty": uncertainty,
        "names": np.asarray([f"{label}: {name}" for label, name in comparisons], dtype=np.str_),
        "bins": np.array([one.trend.values for one in comparisons.values()]).reshape(-1, N_BINS),
        **levels,
    }
    with atomic_path(folder / UNCERTAINTY_FILE) as temporary:
        np.savez(temporary, **arrays)
    write_result(folder, result)


def _labels(evaluations: Sequence[StoredResult]) -> list[str]:
    """A name per evaluation: what it is, of equal ones with the name of its folder."""
    kinds = [stored.result.kind.replace("_", "-") for stored in evaluations]
    return [
        kind if kinds.count(kind) == 1 else f"{kind} {stored.folder.resolve().name}" for kind, stored in zip(kinds, evaluations)
    ]


def _shown(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _decibels(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -100 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{ascii(text[:40])}: no ratio in dB between -100 and 100")
    return value


if __name__ == "__main__":
    sys.exit(run(main))
