"""Linear probes on a frozen ECG encoder (paper Table 2): features once, then every fraction and seed.

The encoder goes over each split once. On its pooled features one linear layer per seed is trained by the paper's
protocol: Adam, learning rate 1e-3, batches of 128, 200 epochs. The paper does not say which epoch it tests; here it is
the one of best macro AUC on the validation split (--select last: the 200th). The test split is read once, after that.

Parts of the training set follow --subset: merl (published choice), melp or stratified (every class keeps a positive where
that is possible). The first seed uses the published part (seed 42), the next ones other parts of the same size, unless
--same-subset is given: the spread over seeds is that of drawing few training records.

Few-shot: --shots takes so many records with and without each class instead, every seed others.

With --target the probes of the largest size are also tested on other data sets, on the classes that Table 11 maps
(paper Table 4): a source class counts as present where any of its target classes is.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin import option_types
from cmelt_plugin.data.files import write_texts
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.labelled_split import folder_names, open_labelled
from cmelt_plugin.evaluation.lead_sets import add_lead_options, chosen_lead_sets, lead_set_name, lead_table
from cmelt_plugin.evaluation.linear_probe.runs import (
    FEATURES,
    POOLED,
    ProbedEncoder,
    Row,
    kept_probe_rows,
    other_sets,
    plan_set,
    probe_set,
)
from cmelt_plugin.evaluation.linear_probe.sizes import TrainingSize
from cmelt_plugin.evaluation.linear_probe.train import SELECT, ProbeSettings
from cmelt_plugin.evaluation.low_data import RULES
from cmelt_plugin.evaluation.options import OPTIONS, CommandFacts, add_options, command_facts, typed_command
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.shift import shift_classes
from cmelt_plugin.models.inference.linear_probe import load_probe
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.tables import DASH, comma_separated, markdown

OPTION_NAMES = [name for name in OPTIONS if name not in ("tokenizer", "score")]
EXAMPLE = """examples:
  python -m cmelt_plugin.evaluation.linear_probe --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/ptb-xl-super --fraction 0.01 0.1 1.0 --seeds 5 --results results/probe
  python -m cmelt_plugin.evaluation.linear_probe --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/ptb-xl-super --target manifests/cpsc2018 manifests/csn --results results/shift
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.linear_probe", __doc__, EXAMPLE)
    manifest = {"required": False, "default": [], "help": "labelled manifest directories to train on"}
    seed = {"help": "the first seed, and bootstrap seed (0)"}
    add_options(result, OPTION_NAMES, {"manifest": manifest, "seed": seed})
    result.add_argument("--target", type=Path, nargs="+", default=[], help="manifest directories for distribution shift")
    sizes = result.add_mutually_exclusive_group()
    sizes.add_argument(
        "--fraction", type=option_types.share, nargs="+", default=[1.0], help="shares of the training records (1.0)"
    )
    sizes.add_argument(
        "--shots", type=option_types.count, nargs="+", metavar="N", help="few-shot: N records with and without each class"
    )
    result.add_argument("--seeds", type=option_types.count, help="how many probes per size (5; with --shots 10)")
    result.add_argument("--subset", choices=RULES, default="merl", help="which records a fraction means (merl)")
    result.add_argument("--same-subset", action="store_true", help="the published part of the records for every seed")
    result.add_argument("--pool", help="features from token states, e.g. cls or mean (the model's first)")
    result.add_argument(
        "--features",
        choices=FEATURES,
        default=POOLED,
        help="pooled states; or of models of ECGs and texts the mean of the embedding, or mean and log-variance (pooled)",
    )
    add_lead_options(result)
    result.add_argument("--select", choices=SELECT, default="best_valid", help="which epoch is tested (best_valid)")
    result.add_argument("--epochs", type=option_types.count, default=200, help="of training (200)")
    result.add_argument("--probe-batch-size", type=option_types.count, default=128, help="of training (128)")
    result.add_argument("--learning-rate", type=option_types.positive_number, default=1e-3, help="of Adam (0.001)")
    result.add_argument("--weight-decay", type=option_types.non_negative_number, default=0.0, help="of Adam (0)")
    result.add_argument("--standardise", action="store_true", help="features of zero mean and unit variance for training")
    result.add_argument("--save-probe", type=Path, metavar="FILE.npz", help="keep the first seed's probe, largest fraction")
    result.add_argument("--probe", type=Path, metavar="FILE.npz", help="test a kept probe on --target instead of training one")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    check_arguments(args)
    lead_sets = chosen_lead_sets(args)
    command = typed_command("cmelt_plugin.evaluation.linear_probe", argv)
    sets = [plan_set(name, directory, args) for name, directory in zip(folder_names(args.manifest), args.manifest)]
    targets = [(name, open_labelled(path, args.split)) for name, path in zip(folder_names(args.target), args.target)]
    kept = None if args.probe is None else load_probe(args.probe)
    sources = [one.train.label_set for one in sets] if kept is None else [kept[2].get("label_set", "")]
    for source in sources:
        for _, target in other_sets(targets, source):
            shift_classes(source, target.label_set)  # says at once what cannot be evaluated
    if targets and not any(other_sets(targets, source) for source in sources):
        raise DataError(f"--target: only sets with the classes of the source, {sources[0]}; use --manifest for those")

    settings = ProbeSettings(
        args.learning_rate, args.weight_decay, args.probe_batch_size, args.epochs, args.standardise, args.select
    )
    encoder = ProbedEncoder(args)
    rows: list[Row] = []
    compared: list[tuple[str, Result]] = []
    for leads in lead_sets:
        encoder.leads = list(leads)
        shared = {**encoder.settings, "seed": args.seed, **(dataclasses.asdict(settings) if sets else {})}
        facts = command_facts(args, command, shared)
        rows += [] if kept is None else kept_probe_rows(kept, targets, encoder, facts, args)
        for one in sets:
            name = one.name if args.compare_leads is None else f"{one.name}-{lead_set_name(leads)}"
            found = probe_set(one._replace(name=name), targets, encoder, settings, facts, args)
            rows += found
            compared += [(f"{row.name.replace(name, one.name, 1)}, {_size(row).text}", row.result) for row in found]
    tables = [write_table(rows, facts, args.results)]
    if args.compare_leads is not None:
        of_leads = lead_table(compared)
        write_texts(args.results, {"leads.md": of_leads.markdown(), "leads.csv": of_leads.csv()})
        tables.append(of_leads.markdown())
    print("\n" + "\n\n".join(tables))
    print(f"{args.results}: {len(rows)} results, tables in linear_probe.md and linear_probe.csv")
    return 0


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse what cannot be done before anything is read.

    Raises:
        DataError: the options contradict each other.
    """
    if bool(args.manifest) == (args.probe is not None):
        raise DataError("give --manifest to train probes, or --probe to test a kept one on --target")
    if args.probe is not None and not args.target:
        raise DataError("--probe: name the data sets to test it on with --target")
    if args.save_probe is not None and (args.probe is not None or len(args.manifest) != 1):
        raise DataError("--save-probe keeps one probe: give exactly one --manifest")
    args.fraction = sorted(set(args.fraction))
    args.seeds = args.seeds or (5 if args.shots is None else 10)
    if args.compare_leads is not None and (args.probe is not None or args.save_probe is not None):
        raise DataError("--compare-leads trains probes for each set of leads: keep and test a probe with --leads")
    if args.features != POOLED and args.pool is not None:
        raise DataError(f"--features {args.features}: embeddings are of the model's own pooling; leave out --pool")


def write_table(rows: Sequence[Row], facts: CommandFacts, folder: Path) -> str:
    """Write ``linear_probe.md`` and ``.csv``; the table as Markdown."""
    head = ["data set", "training records", "macro AUC", "95 %", "AUC, ≥ 10 positives", "AUPRC", "F1", "tested on"]
    body = []
    for row in rows:
        settings, result = row.result.settings, row.result
        low, high = result.intervals.get("macro_auc", (float("nan"), float("nan")))
        trained = "kept probe" if "n_train" not in settings else f"{settings['n_train']} ({_size(row).text})"
        body.append(
            [
                row.name,
                trained,
                _with_spread(result, "macro_auc"),
                DASH if np.isnan(low) else f"{100 * low:.2f} to {100 * high:.2f}",
                *(_with_spread(result, name) for name in ("macro_auc_10", "macro_auprc", "macro_f1")),
                f"{result.n_records} records, {len(result.per_class) - len(result.excluded)} classes",
            ]
        )
    table = markdown(head, body)
    notes = ["\n".join([f"- {r.name}, {cells[1]}", *(f"  - {n}" for n in r.result.notes)]) for r, cells in zip(rows, body)]
    first = rows[0].result
    kind = first.settings.get("features", first.settings["pool"])
    counts = " or ".join(dict.fromkeys(str(len(row.result.settings["leads"])) for row in rows))
    lines = [
        f"# Linear probes: {facts.model}\n",
        f"Checkpoint: `{facts.checkpoint}`; {kind} features of {counts} leads\n",
        table,
        "Percent; mean ± standard deviation over seeds; interval of the mean over resampled subjects.\n",
        "\n".join(notes) + "\n",
        f"Command: `{facts.command}`\n",
    ]
    write_texts(folder, {"linear_probe.md": "\n".join(lines), "linear_probe.csv": comma_separated(head, body)})
    missing = [
        f"no positive training record of {', '.join(row.missing)}: {row.name}, {cells[1]}"
        for row, cells in zip(rows, body)
        if row.missing
    ]
    excluded = [f"no AUC of {', '.join(row.result.excluded)}: {row.name}" for row in rows if row.result.excluded]
    return "\n".join([table, *missing, *dict.fromkeys(excluded)])


def _size(row: Row) -> TrainingSize:
    return TrainingSize(row.result.settings.get("fraction"), row.result.settings.get("shots"))


def _with_spread(result: Result, name: str) -> str:
    value = result.metrics.get(name, float("nan"))
    if not np.isfinite(value):
        return DASH
    spread = f" ± {100 * result.spread[name]:.2f}" if name in result.spread else ""
    return f"{100 * value:.2f}{spread}"


if __name__ == "__main__":
    sys.exit(run(main))
