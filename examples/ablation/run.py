"""Train, evaluate and tabulate the variants of an ablation grid (paper Tables 6 to 8), on one's own data.

Every variant is pre-trained with each seed and evaluated three ways on every downstream set: full fine-tuning, linear probing
with 1 % of the labels, zero-shot. What is done is done: run it again after an interruption and it goes on. The table gives the
mean over seeds and sets, ± the standard deviation over seeds; result folders feed the evaluation report. A second table gives
each set by itself, zero-shot also with fewer leads (--leads), and single classes (--classes).
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import itertools
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ablation_grid import Grid, Variant, grid_names, read_grid
from steps import REPOSITORY, Command, host_command, needs_cpu_switch, run_commands
from tiny_encoders import write_tiny_encoder
from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.leads import parse_leads
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.lead_sets import lead_set_name
from cmelt_plugin.evaluation.result_files import Result, read_results, write_result
from cmelt_plugin.tables import DASH, markdown

TASKS = {"finetune": "Full fine-tune", "linear_probe": "Linear probing", "zero_shot": "Zero-shot"}
EXAMPLE = """example:
  python examples/ablation/run.py --grid components --manifest demo/manifest --dest ablation \\
      --config cmelt_tiny --tiny-encoders --seeds 3 --pretrain optimization.max_update=600
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--grid", required=True, help=f"{', '.join(grid_names())}, or a YAML file in their form")
    result.add_argument("--manifest", type=Path, required=True, help="manifest directory to pre-train on")
    result.add_argument("--downstream", type=Path, nargs="+", help="labelled manifests to evaluate on (default: --manifest)")
    result.add_argument("--dest", type=Path, required=True, help="folder for checkpoints, logs and results")
    result.add_argument("--config", help="configuration of examples/pretrain (default: the grid's base)")
    result.add_argument("--tiny-encoders", action="store_true", help="small random text encoders in place of pre-trained ones")
    result.add_argument("--seeds", type=option_types.count, default=3, help="seeds per variant (3)")
    result.add_argument("--variants", nargs="+", help="slugs of the variants to run (default: all)")
    result.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=list(TASKS), help="evaluations (all three)")
    result.add_argument("--split", default="test", help="split that the evaluations use (test)")
    result.add_argument(
        "--leads", nargs="+", metavar="SET", help="sets of leads of zero-shot classification, the mean is of the first"
    )
    result.add_argument("--classes", nargs="+", default=[], metavar="CLASS", help="classes whose AUC has a column of its own")
    result.add_argument("--bootstrap", type=option_types.natural, default=1000, help="resamples of the evaluations (1000)")
    result.add_argument("--fraction", type=option_types.share, default=0.01, help="share of labels in linear probing (0.01)")
    result.add_argument("--jobs", type=option_types.count, default=1, help="runs at a time (1)")
    result.add_argument("--pretrain", nargs="*", default=[], help="further settings of pre-training, key=value")
    result.add_argument("--finetune-config", default="ptb_xl_super", help="configuration of examples/finetune (ptb_xl_super)")
    result.add_argument("--finetune", nargs="*", default=[], help="further settings of fine-tuning, key=value")
    return result


def commands(variant: Variant, seed: int, arguments: argparse.Namespace, text_encoder: str) -> list[Command]:
    """Everything one variant with one seed needs, in order."""
    folder = arguments.dest / variant.slug / f"seed{seed}"
    checkpoint = folder / "pretrain" / "checkpoint_last.pt"
    on_cpu = ["common.cpu=true"] if needs_cpu_switch() else []

    def train(kind: str, config: str, data: Path, save: Path, *settings: str) -> list[str]:
        place = ["--config-dir", str(REPOSITORY / "examples" / kind), "--config-name", config]
        fixed = [f"task.data={data}", f"checkpoint.save_dir={save}", f"common.seed={seed}"]
        return [*host_command("fairseq-hydra-train"), *place, *on_cpu, *fixed, *settings]

    def evaluate(module: str, *options: object) -> list[str]:
        shared = ["--model-name", variant.name, "--split", arguments.split, "--bootstrap", arguments.bootstrap]
        return [sys.executable, "-m", f"cmelt_plugin.evaluation.{module}", *map(str, [*options, *shared])]

    tokens = _token_tag(arguments.manifest, variant.text_encoder)
    settings = [f"model.text_encoder={text_encoder}", *([f"task.tokenizer={tokens}"] if tokens else [])]
    config = arguments.config
    pretrain = train(
        "pretrain", config, arguments.manifest, checkpoint.parent, *settings, *variant.overrides, *arguments.pretrain
    )
    steps = [Command("pretrain", pretrain, checkpoint)]
    if "zero_shot" in arguments.tasks and variant.zero_shot:
        names = "-".join(data.name for data in arguments.downstream)
        thresholds = [] if arguments.split == "test" else ["--thresholds-from", "none"]
        leads = ["--compare-leads", *arguments.leads] if arguments.leads else []
        out = folder / "results" / "zero_shot"
        words = ["--checkpoint", checkpoint, "--manifest", *arguments.downstream, *leads, *thresholds, "--results", out]
        steps.append(Command(f"zero_shot-{names}", evaluate("zero_shot", *words), out))
    for data in arguments.downstream:
        common = ["--manifest", data]
        if "linear_probe" in arguments.tasks:
            out = folder / "results" / "linear_probe" / data.name
            options = ["--checkpoint", checkpoint, *common, "--fraction", arguments.fraction, "--results", out]
            steps.append(Command(f"linear_probe-{data.name}", evaluate("linear_probe", *options), out))
        if "finetune" in arguments.tasks:
            out, tuned = folder / "results" / "finetune" / data.name, folder / "finetune" / data.name
            words = train(
                "finetune", arguments.finetune_config, data, tuned, f"model.pretrained={checkpoint}", *arguments.finetune
            )
            best = tuned / "checkpoint_best.pt"
            steps.append(Command(f"finetune-{data.name}", words, best))
            thresholds = [] if arguments.split == "test" else ["--valid", "none"]
            words = evaluate("classify", "--checkpoint", best, *common, *thresholds, "--results", out)
            steps.append(Command(f"classify-{data.name}", words, out))
    return steps


def tabulate(grid: Grid, arguments: argparse.Namespace) -> str:
    """Write one result per variant and task and the tables as Markdown; return the tables."""
    rows = []
    for variant in grid.variants:
        cells = []
        for task in arguments.tasks:
            folder, places = arguments.dest / variant.slug, _places(task, arguments)
            per_place = [_over_seeds(folder, place, arguments.seeds) for place in places if place.in_mean]
            if not all(per_place):
                cells.append(DASH)
                continue
            results = np.array([[result.metrics["macro_auc"] for result in of_seeds] for of_seeds in per_place])
            per_seed = results.mean(axis=0)
            cells.append(_cell(per_seed))
            spread = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else float("nan")
            result = Result(
                kind="ablation",
                model=variant.name,
                checkpoint=str(folder),
                data_set=", ".join(path.name for path in arguments.downstream),
                label_set="",
                split=arguments.split,
                n_records=sum(of_seeds[0].n_records for of_seeds in per_place),
                n_subjects=sum(of_seeds[0].n_subjects for of_seeds in per_place),
                settings={"grid": grid.name, "task": task, "seeds": len(per_seed), "config": arguments.config},
                metrics={"score": float(per_seed.mean())},
                spread={"score": spread} if len(per_seed) > 1 else {},
                notes=[f"seed {number}: {100 * value:.2f}" for number, value in enumerate(per_seed, start=1)],
                command=shlex.join(sys.argv),
            )
            write_result(arguments.dest / "results" / f"{variant.slug}-{task}", result)
        rows.append([variant.name, *cells])
    table = markdown(["variant", *(TASKS[task] for task in arguments.tasks)], rows)
    places = [place for task in arguments.tasks for place in _places(task, arguments)]
    if len(places) > len(arguments.tasks) or arguments.classes:
        table += "\n" + _sets_and_classes(grid, arguments, places)
    (arguments.dest / "table.md").write_text(table, encoding="utf-8")
    return table


class Place(NamedTuple):
    """Where the results of an evaluation of one set lie: title, folder of each seed, and whether it counts in the mean."""

    title: str
    folder: str
    in_mean: bool = True


def _places(task: str, arguments: argparse.Namespace) -> list[Place]:
    """All evaluations of a task, zero-shot those with fewer leads, too."""
    title, names = TASKS[task].lower(), [data.name for data in arguments.downstream]
    if task != "zero_shot" or not arguments.leads:
        return [Place(f"{name}, {title}", f"{task}/{name}") for name in names]
    sets = [lead_set_name(parse_leads(text)) for text in arguments.leads]
    pairs = itertools.product(names, sets)
    return [Place(f"{name}, {leads}", f"{task}/{name}-{leads}", leads == sets[0]) for name, leads in pairs]


def _sets_and_classes(grid: Grid, arguments: argparse.Namespace, places: Sequence[Place]) -> str:
    """A column for each evaluation of a set, and behind it those of the classes asked for that the set has."""
    columns: dict[str, list[str]] = {}
    for variant, place in itertools.product(grid.variants, places):
        results = _over_seeds(arguments.dest / variant.slug, place, arguments.seeds)
        aucs = {place.title: [result.metrics.get("macro_auc") for result in results]}
        for name in arguments.classes:
            aucs[f"{name} ({place.title})"] = [result.per_class.get(name, {}).get("auc") for result in results]
        for title, values in aucs.items():
            known = [value for value in values if value is not None]
            whole = bool(known) and len(known) == len(values)
            columns.setdefault(title, []).append(_cell(np.array(known)) if whole else DASH)
    shown = {title: cells for title, cells in columns.items() if set(cells) != {DASH}}
    rows = zip((variant.name for variant in grid.variants), *shown.values())
    return markdown(["variant", *shown], list(rows))


def _over_seeds(folder: Path, place: Place, seeds: int) -> list[Result]:
    """A variant's results of one evaluation, one per seed; none where a seed has none."""
    folders = [folder / f"seed{seed}" / "results" / place.folder for seed in range(1, seeds + 1)]
    return [read_results([path])[0].result for path in folders] if all(path.is_dir() for path in folders) else []


def _cell(values: np.ndarray) -> str:
    spread = f" ± {100 * values.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.2f}{spread}"


def _token_tag(manifest: Path, text_encoder: str) -> str:
    """Tag of the token ids of a text encoder, "" where the manifest has only one kind."""
    tags = sorted(path.name[len("reports.") : -len(".npz")] for path in manifest.glob("reports.*.npz"))
    if len(tags) < 2:
        return ""
    name = text_encoder.rsplit("/", 1)[-1]
    if name not in tags:
        raise DataError(f"{manifest}: no token ids for {text_encoder}; run preprocess/tokenizer.py --tokenizer {text_encoder}")
    return name


def _text_encoder(variant: Variant, arguments: argparse.Namespace) -> str:
    if not arguments.tiny_encoders:
        return variant.text_encoder
    tables = sorted(arguments.manifest.glob("reports.*.npz"))
    if len(tables) != 1:
        raise DataError(f"{arguments.manifest}: {len(tables)} files reports.*.npz, exactly one is needed with --tiny-encoders")
    folder = arguments.dest / "text_encoders" / variant.text_encoder.replace("/", "--")
    folder.parent.mkdir(parents=True, exist_ok=True)
    return str(write_tiny_encoder(variant.text_encoder, TokenTable.load(tables[0]), folder))


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    grid = read_grid(arguments.grid, tiny=arguments.tiny_encoders)
    arguments.config = arguments.config or grid.base
    arguments.dest, arguments.manifest = arguments.dest.resolve(), arguments.manifest.resolve()
    arguments.downstream = [path.resolve() for path in arguments.downstream or [arguments.manifest]]
    names = [path.name for path in arguments.downstream]
    if len(set(names)) < len(names):
        raise DataError(f"--downstream: two folders have the same name ({', '.join(names)})")
    for path in (arguments.manifest, *arguments.downstream):
        if not path.is_dir():
            raise DataError(f"{path}: no such folder")
    if arguments.variants:
        known = [variant.slug for variant in grid.variants]
        unknown = sorted(set(arguments.variants) - set(known))
        if unknown:
            raise DataError(f"--variants {', '.join(unknown)}: the grid has {', '.join(known)}")
        grid = Grid(grid.name, grid.table, grid.base, [v for v in grid.variants if v.slug in arguments.variants])
    encoders = {variant.slug: _text_encoder(variant, arguments) for variant in grid.variants}
    runs = [(variant, seed) for seed in range(1, arguments.seeds + 1) for variant in grid.variants]
    failed, steps_run = [], 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {}
        for variant, seed in runs:
            steps = commands(variant, seed, arguments, encoders[variant.slug])
            folder = arguments.dest / variant.slug / f"seed{seed}"
            futures[pool.submit(run_commands, steps, folder, arguments.jobs)] = f"{variant.slug}/seed{seed}"
        for future in tqdm(as_completed(futures), total=len(futures), unit="run", desc=grid.name):
            try:
                steps_run += future.result()
            except DataError as error:
                failed.append(f"{futures[future]}: {error}")
    print(f"{len(runs)} runs: {len(runs) - len(failed)} complete, {len(failed)} failed; {steps_run} steps run now")
    if failed:
        raise DataError("\n\n".join(failed) + "\n\nRun the same command again to go on.")
    what = f"Table {grid.table}, {arguments.config}, {arguments.seeds} seeds, split {arguments.split}"
    print(f"\n{what}, macro AUC in %, mean ± sd over seeds\n")
    print(tabulate(grid, arguments))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
