"""The model that comes with the package, from nothing: synthetic cohort → training → its folder in cmelt_plugin/weights.

Runs the commands one types by hand, printing each; what is there already is left as it is, and an interrupted training goes on.
7.2 GB of disk; the training is long: 79 to 100 minutes on one core.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cmelt_plugin import option_types
from cmelt_plugin.errors import DataError
from cmelt_plugin.weights import DEFAULT, FOLDER

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # examples/ is not installed

from examples.demo.running import shown  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGURATION = "cmelt_synthetic"
CONFIGURATIONS = REPOSITORY / "examples" / "pretrain"
CARD = Path(__file__).with_name("card.md")
RECORDS, QUICK_RECORDS = 30_000, 240
QUICK = ("dataset.batch_size=16", "common.log_interval=2")
QUICK_UPDATES = 8
EXAMPLE = """examples:
  python examples/synthetic_model/run.py --dest synthetic-model
  python examples/synthetic_model/run.py --dest synthetic-model --results results/ptb-xl-super results/cpsc2018
"""


class Step(NamedTuple):
    """One command, and what is there when it has been run."""

    title: str
    command: list[str]
    output: Path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--dest", type=Path, default=Path("synthetic-model"), help="folder for all but the model (synthetic-model)"
    )
    result.add_argument("--model", type=Path, default=FOLDER / DEFAULT, help="folder of the model (that of the package)")
    result.add_argument("--results", type=Path, nargs="+", metavar="DIR", help="results of evaluations, for the model card")
    result.add_argument("--updates", type=option_types.count, help="of training (those of the configuration)")
    result.add_argument("--quick", action="store_true", help="a few records and updates: does everything run at all?")
    return result


def steps(
    dest: Path, python: str, train: Sequence[str], n_records: int, changes: Sequence[str], here: Path = REPOSITORY
) -> list[Step]:
    """The commands, in order.

    Args:
        dest: folder for data and checkpoints.
        python: runs scripts.
        train: the host's command that trains.
        n_records: of the cohort.
        changes: settings of the training beside those of the configuration.
        here: the repository, as the commands name it.
    """
    cohort, manifest, checkpoints = dest / "data" / DEFAULT, dest / "manifests" / DEFAULT, dest / "checkpoints" / CONFIGURATION

    def preprocess(name: str, *options: object) -> list[str]:
        return [python, str(here / "preprocess" / f"{name}.py"), *map(str, options)]

    labels = ("--labels", cohort / "labels.csv", "--prompts", cohort / "prompts.json")
    settings = [
        *("--config-dir", str(here / "examples" / "pretrain"), "--config-name", CONFIGURATION),
        f"task.data={manifest}",
        f"model.text_encoder={manifest / 'tokenizer'}",
        f"checkpoint.save_dir={checkpoints}",
        *changes,
    ]
    return [
        Step(
            "a synthetic cohort",
            preprocess("synthetic", "--records", n_records, "--seed", 1, "--prevalence", "balanced", "--dest", cohort),
            cohort / "labels.csv",
        ),
        Step(
            "packed records and a manifest",
            preprocess("mimic_iv_ecg", "--root", cohort, "--dest", manifest, "--split", 0.94, 0.03, 0.03),
            manifest / "manifest.json",
        ),
        Step("labels and class texts", preprocess("labels", "--manifest", manifest, *labels), manifest / "labels.json"),
        Step(
            "a tokenizer trained on the reports, and token ids",
            preprocess("tokenizer", "--manifest", manifest, "--train-vocab", 3000, "--encoder", "tiny"),
            manifest / "prompts.tokenizer.npz",
        ),
        Step("training", [*train, *settings], checkpoints / "checkpoint_last.pt"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recipe."""
    arguments = parser().parse_args(argv)
    own = arguments.model.resolve() == FOLDER / DEFAULT
    if own and (arguments.quick or arguments.updates):
        raise DataError("--quick and --updates make another model than the package's: give --model a folder of its own")
    n_records = QUICK_RECORDS if arguments.quick else RECORDS
    recipe = yaml.safe_load((CONFIGURATIONS / f"{CONFIGURATION}.yaml").read_text(encoding="utf-8"))
    usual = int(recipe["optimization"]["max_update"])
    updates = arguments.updates or (QUICK_UPDATES if arguments.quick else usual)
    changes = [*(QUICK if arguments.quick else ()), *([f"optimization.max_update={updates}"] if updates != usual else [])]
    train = [sys.executable, "-m", "fairseq_cli.hydra_train"]
    *prepared, training = steps(arguments.dest.resolve(), sys.executable, train, n_records, [*_cpu(), *changes])
    # The weights that ship were trained on one thread; sums of other numbers of threads are rounded otherwise.
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ}
    for step in prepared:
        _call(step, environment, there=step.output.exists())
    _call(training, environment, there=trained_updates(training.output) >= updates)
    if trained_updates(training.output) < updates:
        raise DataError(f"{training.output}: the training ended before {updates} updates; run this again")
    return _export(arguments, training.output, n_records, changes)


def _cpu() -> list[str]:
    """fairseq looks for a GPU unless told not to; fairseq-signals takes the CPU by itself and has no such setting."""
    from cmelt_plugin.host.choosing import IS_SIGNALS  # late: it loads the host

    return [] if IS_SIGNALS else ["common.cpu=true"]


def trained_updates(checkpoint: Path) -> int:
    """Updates of a checkpoint; 0 where there is none."""
    from cmelt_plugin.models.files.run_facts import run_facts
    from cmelt_plugin.serialization.checkpoint_files import load_checkpoint

    if not checkpoint.is_file():
        return 0
    return int(run_facts(load_checkpoint(checkpoint, ("cfg", "extra_state", "optimizer_history"))).get("updates") or 0)


def _call(step: Step, environment: dict[str, str], there: bool) -> None:
    print(f"\n{step.title}\n  {'there already: ' + str(step.output) if there else shown(step.command)}", flush=True)
    if not there:
        code = subprocess.run(step.command, env=environment).returncode
        if code != 0:
            raise DataError(f"this command failed with exit code {code}; running it all again goes on from here")


def _export(arguments: argparse.Namespace, checkpoint: Path, n_records: int, changes: Sequence[str]) -> int:
    """The model's folder, by ``python -m cmelt_plugin.export``."""
    typed = steps(Path("synthetic-model"), "python", ["fairseq-hydra-train"], n_records, ["common.cpu=true", *changes], Path())
    commands = [" ".join(step.command) for step in typed]
    options: list[Any] = ["--checkpoint", checkpoint, "--dest", arguments.model, "--overwrite", "--precision", "float16"]
    options += ["--manifest", arguments.dest / "manifests" / DEFAULT, "--data-set", commands[0].partition(" --dest")[0]]
    options += ["--name", DEFAULT, "--licence", "mit"]
    if arguments.results is not None:
        options += ["--results", *arguments.results]
    with tempfile.TemporaryDirectory() as folder:
        about = Path(folder) / CARD.name
        text = CARD.read_text(encoding="utf-8")
        about.write_text(text.replace("{commands}", "\n".join(f"    {line}" for line in commands)), encoding="utf-8")
        command = [sys.executable, "-m", "cmelt_plugin.export", *map(str, [*options, "--about", about])]
        print(f"\nthe model's folder\n  {shown(command)}", flush=True)
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(run(main))
