"""Systems side by side: the same records, updates and evaluations for each, with several seeds.

Every system is trained by its smallest configuration, examples/pretrain/SYSTEM_tiny.yaml, and evaluated by zero-shot
classification, retrieval and linear probes. Its encoder with random weights is probed, too, and where asked for trained on
labels alone. What is done is done: run it again after an interruption and it goes on. Without --manifest the records are
synthetic, and the table says how fast systems learn what is in those, not how well they diagnose patients.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from steps import REPOSITORY, Command, host_command, needs_cpu_switch, run_commands

from cmelt_plugin import option_types, registry
from cmelt_plugin.data.directory.own_files import LABELS_FILE, REPORTS_FILE
from cmelt_plugin.data.files import read_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.result_files import Result, read_results
from cmelt_plugin.tables import markdown

CONFIGURATIONS = REPOSITORY / "examples" / "pretrain"
FRACTIONS = (0.01, 0.1, 1.0)
UNTRAINED_UPDATES = 10  # at learning rate 0, in which statistics of batches settle
EXAMPLE = """examples:
  python examples/ablation/systems.py --dest systems
  python examples/ablation/systems.py --dest systems-ptb-xl --manifest manifests/ptb-xl --downstream manifests/ptb-xl-super \
      --updates 1000
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--dest", type=Path, required=True, help="folder for everything")
    result.add_argument(
        "--manifest", type=Path, help="manifest directory to pre-train on, with reports and a tokenizer/ folder (synthetic)"
    )
    result.add_argument(
        "--downstream", type=Path, help="manifest directory with labels and class texts to evaluate on (the same)"
    )
    result.add_argument("--records", type=option_types.count, default=8000, help="size of the synthetic cohort (8000)")
    result.add_argument(
        "--noise", type=option_types.non_negative_number, default=0.3, help="noise of the synthetic recordings, 1 = usual (0.3)"
    )
    result.add_argument("--systems", nargs="+", metavar="NAME", help="systems to compare (all that have a configuration)")
    result.add_argument(
        "--supervised", nargs="+", default=[], metavar="NAME", help="systems whose encoder learns the labels alone"
    )
    result.add_argument("--epochs", type=option_types.count, default=5, help="of that training (5)")
    result.add_argument("--seeds", type=option_types.count, default=3, help="seeds per system (3)")
    result.add_argument("--updates", type=option_types.count, help="updates of every training (those of the configurations)")
    result.add_argument("--settings", nargs="*", default=[], help="further settings of pre-training, key=value")
    return result


def cohort(arguments: argparse.Namespace, *tokenizer: str) -> list[Command]:
    """A synthetic manifest directory, as the demo makes it; ``tokenizer``: further options of preprocess/tokenizer.py."""
    records, manifest = arguments.dest / "cohort", arguments.manifest

    def preprocess(name: str, output: Path, *options: object) -> Command:
        return Command(name, [sys.executable, str(REPOSITORY / "preprocess" / f"{name}.py"), *map(str, options)], output)

    return [
        preprocess("synthetic", records, "--records", arguments.records, "--noise", arguments.noise, "--dest", records),
        preprocess(
            *("mimic_iv_ecg", manifest / "manifest.json", "--root", records, "--dest", manifest, "--split", 0.8, 0.1, 0.1)
        ),
        preprocess(
            *("labels", manifest / LABELS_FILE, "--manifest", manifest),
            *("--labels", records / "labels.csv", "--prompts", records / "prompts.json"),
        ),
        preprocess(
            *("tokenizer", manifest / "tokenizer", "--manifest", manifest, "--train-vocab", 500, "--encoder", "tiny"),
            *("--overwrite", *tokenizer),
        ),
        preprocess(
            *("n3s", manifest / "train.n3s.json", "--manifest", manifest, "--embedder", "tfidf", "--strategy", "balanced")
        ),
    ]


def commands(system: str, seed: int, arguments: argparse.Namespace) -> list[Command]:
    """Everything one system with one seed needs, in order; the first seed also has the encoders to compare with."""
    manifest, folder = arguments.manifest, arguments.dest / system / f"seed{seed}"
    common = [f"common.seed={seed}", *(["common.cpu=true"] if needs_cpu_switch() else [])]

    def train(save: Path, *settings: str) -> list[str]:
        place = ["--config-dir", str(CONFIGURATIONS), "--config-name", f"{system}_tiny", f"task.data={manifest}"]
        text = [f"model.text_encoder={manifest / 'tokenizer'}"] if registry.systems()[system].reads_text else []
        fixed = [f"checkpoint.save_dir={save}", "dataset.disable_validation=true", *arguments.settings]
        return [*host_command("fairseq-hydra-train"), *place, *common, *text, *fixed, *settings]

    def evaluate(module: str, name: str, checkpoint: Path, *options: object, data: Path = arguments.downstream) -> Command:
        out = folder / "results" / name
        words = ["--checkpoint", checkpoint, "--manifest", data, "--results", out, "--model-name", system, "--bootstrap", 0]
        words += options
        return Command(name, [sys.executable, "-m", f"cmelt_plugin.evaluation.{module}", *map(str, words)], out)

    probes = ["--fraction", *FRACTIONS, "--seeds", 1]
    trained, untrained = folder / "pretrain" / "checkpoint_last.pt", folder / "untrained" / "checkpoint_last.pt"
    updates = [] if arguments.updates is None else [f"optimization.max_update={arguments.updates}"]
    steps = [Command("pretrain", train(trained.parent, *updates), trained)]
    if registry.systems()[system].reads_text:
        steps.append(evaluate("zero_shot", "zero_shot", trained, "--thresholds-from", "none"))
        steps.append(evaluate("retrieve", "retrieval", trained, data=manifest))
    steps.append(evaluate("linear_probe", "linear_probe", trained, *probes))
    nothing = ["optimization.lr=[0.0]", f"optimization.max_update={UNTRAINED_UPDATES}"]
    steps.append(Command("untrained", train(untrained.parent, *nothing), untrained))
    steps.append(evaluate("linear_probe", "untrained_probe", untrained, *probes))
    if system in arguments.supervised:
        best = folder / "supervised" / "checkpoint_best.pt"
        place = ["--config-dir", str(REPOSITORY / "examples" / "finetune"), "--config-name", "tiny"]
        fixed = [f"model.pretrained={untrained}", f"checkpoint.save_dir={best.parent}", "optimization.lr=[0.001]"]
        fixed += [f"optimization.max_epoch={arguments.epochs}", "task.bootstrap=0", f"task.data={arguments.downstream}"]
        steps.append(Command("supervised", [*host_command("fairseq-hydra-train"), *place, *common, *fixed], best))
        steps.append(evaluate("classify", "classify", best))
    return steps


def tabulate(systems: Sequence[str], arguments: argparse.Namespace) -> str:
    """The table as Markdown, also written to DEST/table.md: percent, mean ± standard deviation over seeds."""
    head = ["encoder", "updates", "seconds", "zero-shot AUC", "R@10 ECG → text", "R@10 text → ECG"]
    head += [f"probe, {100 * fraction:g} %" for fraction in FRACTIONS]
    rows, chance = [], {}
    for system in systems:
        folders = [arguments.dest / system / f"seed{seed}" for seed in range(1, arguments.seeds + 1)]
        figures = [pretrained_metrics(folder / "results") for folder in folders]
        chance = figures[0]
        cells = [_cell([figure.get(name) for figure in figures]) for name in ("auc", "ecg_to_text", "text_to_ecg")]
        cells += [_cell([figure.get(fraction) for figure in figures]) for fraction in FRACTIONS]
        seconds = [read_json(folder / "logs" / "pretrain.done.json")["seconds"] for folder in folders]
        rows.append([system, _updates(system, arguments), f"{np.mean(seconds):.0f}", *cells])
    for system in systems:
        folders = [arguments.dest / system / f"seed{seed}" for seed in range(1, arguments.seeds + 1)]
        figures = [probe_metrics(folder / "results" / "untrained_probe") for folder in folders]
        cells = [_cell([figure.get(fraction) for figure in figures]) for fraction in FRACTIONS]
        rows.append([f"{system}, random weights", "0", "–", "–", "–", "–", *cells])
    for system in [name for name in systems if name in arguments.supervised]:
        folders = [arguments.dest / system / f"seed{seed}" for seed in range(1, arguments.seeds + 1)]
        scores = [_metrics(folder / "results" / "classify")["macro_auc"] for folder in folders]
        seconds = [read_json(folder / "logs" / "supervised.done.json")["seconds"] for folder in folders]
        row = [f"{system}, labels alone", f"{arguments.epochs} epochs", f"{np.mean(seconds):.0f}", "–", "–", "–", "–", "–"]
        rows.append([*row, _cell(scores)])
    table = markdown(head, rows)
    if "ecg_to_text_chance" in chance:
        table += f"\nChance of R@10: {100 * chance['ecg_to_text_chance']:.1f} % ECG → text, "
        table += f"{100 * chance['text_to_ecg_chance']:.1f} % text → ECG.\n"
    (arguments.dest / "table.md").write_text(table, encoding="utf-8")
    return table


def pretrained_metrics(folder: Path) -> dict[object, float]:
    """``auc``, ``ecg_to_text`` and ``text_to_ecg`` with their chances, and for each share of labels the probe's macro AUC."""
    metrics: dict[object, float] = dict(probe_metrics(folder / "linear_probe"))
    if (folder / "zero_shot").is_dir():
        metrics["auc"] = _metrics(folder / "zero_shot")["macro_auc"]
        found = _metrics(folder / "retrieval")
        for direction in ("ecg_to_text", "text_to_ecg"):
            metrics[direction] = found[f"{direction}_r10"]
            metrics[f"{direction}_chance"] = found[f"{direction}_r10_chance"]
    return metrics


def probe_metrics(folder: Path) -> dict[object, float]:
    """Share of labels → macro AUC."""
    results = [stored.result for stored in read_results([folder])]
    return {result.settings["fraction"]: result.metrics["macro_auc"] for result in results}


def _metrics(folder: Path) -> dict[str, float]:
    results: list[Result] = [stored.result for stored in read_results([folder])]
    return results[0].metrics


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    spread = f" ± {100 * np.std(known, ddof=1):.1f}" if len(known) > 1 else ""
    return f"{100 * np.mean(known):.1f}{spread}"


def _configuration(system: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGURATIONS / f"{system}_tiny.yaml").read_text(encoding="utf-8"))


def _updates(system: str, arguments: argparse.Namespace) -> str:
    return str(arguments.updates or _configuration(system)["optimization"]["max_update"])


def check_updates(systems: Sequence[str], updates: int) -> None:
    """The hosts divide by the number of updates in which the learning rate falls.

    Raises:
        DataError: of ``updates`` there would be none.
    """
    for system in systems:
        last = (_configuration(system)["lr_scheduler"].get("phase_ratio") or [1.0])[-1]
        if int(updates * last) < 1:
            raise DataError(
                f"--updates {updates}: in the last {100 * last:g} % of the updates the learning rate of {system}_tiny falls, "
                f"which would be none; give at least {math.ceil(1 / last)}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    known = [name for name in sorted(registry.systems()) if (CONFIGURATIONS / f"{name}_tiny.yaml").is_file()]
    systems = arguments.systems or known
    unknown = sorted({*systems, *arguments.supervised} - set(known))
    if unknown:
        raise DataError(f"no configuration {', '.join(f'{name}_tiny.yaml' for name in unknown)}; there is {', '.join(known)}")
    if arguments.updates is not None:
        check_updates(systems, arguments.updates)
    arguments.dest = arguments.dest.resolve()
    threads = os.cpu_count() or 1 if "OMP_NUM_THREADS" not in os.environ else int(os.environ["OMP_NUM_THREADS"])
    if arguments.manifest is None:
        arguments.manifest = arguments.dest / "manifest"
        run_commands(cohort(arguments), arguments.dest, threads)
    arguments.manifest = arguments.manifest.resolve()
    arguments.downstream = (arguments.downstream or arguments.manifest).resolve()
    for folder, name in (
        (arguments.manifest, REPORTS_FILE),
        (arguments.manifest, "tokenizer"),
        (arguments.downstream, LABELS_FILE),
    ):
        if not (folder / name).exists():
            raise DataError(f"{folder}: no {name}; systems learn from reports and are compared on labels")
    for seed in range(1, arguments.seeds + 1):
        for system in systems:
            print(f"{system}, seed {seed}", flush=True)
            run_commands(commands(system, seed, arguments), arguments.dest / system / f"seed{seed}", threads)
    print(tabulate(systems, arguments))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
