"""From nothing to a validated C-MELT in minutes, on two CPU cores: synthetic cohort → training → zero-shot diagnosis.

Runs the very commands one types for one's own data, printing each, and ends with DEST/report.html. Interrupted, it goes on
where it stopped. The recordings are synthetic: this shows that the software learns, not how well it diagnoses patients.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cmelt_plugin import option_types
from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.report.training_log import INNER, parse_line

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGURATIONS = REPOSITORY / "examples" / "pretrain"
CONFIGURATION = "cmelt_tiny"
TEST = "test"
BARS = {"etm_accuracy": 0.90, "macro_auc": 0.80, "recall_over_chance": 5.0, "loss_mem": 0.65}
QUICK = ["optimization.max_update=8", "dataset.batch_size=16", "common.log_interval=2"]
QUICK_RECORDS = 240
EXAMPLE = """example:
  python examples/demo/run.py --dest demo
"""


class Step(NamedTuple):
    """One command.

    Attributes:
        name: of its log file and stamp.
        title: what it does.
        command: what is run.
        resume: what is added to the command after an interrupted run left its output behind.
        output: what it writes.
    """

    name: str
    title: str
    command: list[str]
    output: Path
    resume: Sequence[str] = ()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--dest", type=Path, default=Path("demo"), help="folder for everything (demo)")
    result.add_argument("--records", type=option_types.count, default=8000, help="size of the synthetic cohort (8000)")
    result.add_argument(
        "--noise", type=option_types.non_negative_number, default=0.3, help="noise of the synthetic recordings, 1 = usual (0.3)"
    )
    result.add_argument("--updates", type=option_types.count, help="training updates (those of cmelt_tiny.yaml)")
    result.add_argument("--seed", type=option_types.seed, default=1, help="of cohort and training (1)")
    result.add_argument("--quick", action="store_true", help="a few records and updates, no bars: does everything run at all?")
    return result


def steps(arguments: argparse.Namespace, dest: Path) -> list[Step]:
    """The commands, in order."""
    cohort, manifest, checkpoints = dest / "cohort", dest / "manifest", dest / "checkpoints"
    n_records = QUICK_RECORDS if arguments.quick else arguments.records
    python = [sys.executable]

    def preprocess(name: str, *options: object) -> list[str]:
        return [*python, str(REPOSITORY / "preprocess" / f"{name}.py"), *map(str, options)]

    host = ["--config-dir", str(CONFIGURATIONS), "--config-name", CONFIGURATION]
    settings = [f"task.data={manifest}", f"common.seed={arguments.seed}"]
    if _needs_cpu_switch():
        settings.append("common.cpu=true")
    training = [f"model.text_encoder={manifest / 'tokenizer'}", f"checkpoint.save_dir={checkpoints}"]
    if arguments.quick:
        training += QUICK
    if arguments.updates is not None:
        training.append(f"optimization.max_update={arguments.updates}")
    validation = [
        "model.text_encoder=unused",  # the checkpoint holds it
        f"dataset.valid_subset={TEST}",
        f"common_eval.path={checkpoints / 'checkpoint_best.pt'}",
    ]
    return [
        Step(
            "synthetic",
            "a synthetic cohort in the layout of MIMIC-IV-ECG",
            preprocess(
                *("synthetic", "--records", n_records, "--seed", arguments.seed),
                *("--noise", arguments.noise, "--dest", cohort),
            ),
            cohort,
            resume=["--overwrite"],
        ),
        Step(
            "records",
            "recordings and reports → packed records and a manifest, split by subject",
            preprocess("mimic_iv_ecg", "--root", cohort, "--dest", manifest, "--split", 0.8, 0.1, 0.1),
            manifest / "manifest.json",
        ),
        Step(
            "labels",
            "labels and class texts, for zero-shot validation",
            preprocess(
                *("labels", "--manifest", manifest, "--labels", cohort / "labels.csv"),
                *("--prompts", cohort / "prompts.json"),
            ),
            manifest / "labels.json",
        ),
        Step(
            "tokenizer",
            "a tokenizer trained on the reports, and a small text encoder with random weights",
            preprocess("tokenizer", "--manifest", manifest, "--train-vocab", 500, "--encoder", "tiny"),
            manifest / "tokenizer",
            resume=["--overwrite"],
        ),
        Step(
            "n3s",
            "negative reports for ECG–text matching",
            preprocess("n3s", "--manifest", manifest, "--embedder", "tfidf", "--strategy", "balanced"),
            manifest / "train.n3s.json",
        ),
        Step(
            "train",
            "training",
            [*_host_command("fairseq-hydra-train"), *host, *settings, *training],
            checkpoints / "checkpoint_best.pt",
        ),
        Step(
            "validate",
            "validation on held-out subjects: losses, retrieval, zero-shot classification",
            [*_host_command("fairseq-hydra-validate"), *host, *settings, *validation],
            dest / "logs" / "validate.log",
        ),
    ]


def _host_command(name: str) -> list[str]:
    """A command of the host from this Python's own environment."""
    beside = Path(sys.executable).parent / name
    if beside.is_file():
        return [str(beside)]
    return [sys.executable, "-m", f"fairseq_cli.{name.split('-', 1)[1].replace('-', '_')}"]


def _needs_cpu_switch() -> bool:
    """fairseq looks for a GPU unless told not to; fairseq-signals takes the CPU by itself and has no such setting."""
    host = os.environ.get("CMELT_HOST") or ("fairseq" if importlib.util.find_spec("fairseq") else "fairseq_signals")
    if host != "fairseq":
        return False
    import torch

    return not torch.cuda.is_available()


def run_step(step: Step, number: int, total: int, dest: Path, again: bool) -> bool:
    """Run one command, unless it has finished before and ``again`` is not set; return whether it was run.

    Raises:
        DataError: it failed; the message holds the end of its output.
    """
    stamp = dest / "logs" / f"{step.name}.done.json"
    print(f"\n[{number}/{total}] {step.title}", flush=True)
    if not again and stamp.is_file() and step.output.exists() and read_json(stamp).get("command") == step.command:
        print(f"  done before ({read_json(stamp)['seconds']:.0f} s)", flush=True)
        return False
    command = [*step.command, *(step.resume if step.output.exists() else ())]
    print(f"  {shown(command)}", flush=True)
    stamp.unlink(missing_ok=True)
    log_path = dest / "logs" / f"{step.name}.log"
    start = time.monotonic()
    # Appended: an interrupted training writes the rest of its curve behind the beginning.
    with open(log_path, "a" if step.name == "train" else "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Beside another busy process, OpenMP threads that spin while they wait make a step twenty times slower.
            env={"OMP_WAIT_POLICY": "passive", **os.environ},
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                log.flush()
                text = progress(line, step.name)
                if text:
                    print(f"  {text}", flush=True)
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code != 0:
        tail = "".join(log_path.read_text(encoding="utf-8").splitlines(keepends=True)[-12:])
        hint = "Running the demo again goes on from here."
        raise DataError(f"step {step.name!r} failed with exit code {code}. {hint} The end of {log_path}:\n{tail}")
    write_json(stamp, {"command": step.command, "seconds": time.monotonic() - start})
    return True


def shown(command: Sequence[str]) -> str:
    """A command as one types it in this folder: paths below it are shortened."""
    here = f"{Path.cwd()}{os.sep}"

    def shorten(word: str) -> str:
        if word.startswith(here):
            return shlex.quote(word[len(here) :])
        key, equals, value = word.partition(f"={here}")
        # Hydra's settings keep absolute paths: the checkpoint remembers them.
        return f"{shlex.quote(key)}=$PWD/{shlex.quote(value)}" if equals else shlex.quote(word)

    return " ".join(map(shorten, command))


def progress(line: str, step: str) -> str:
    """What is shown of a line of a command's output; "" for nothing."""
    if step not in ("train", "validate"):
        return "" if "%|" in line or "it/s]" in line else line.rstrip()
    figures = parse_line(line)
    if figures is None or figures.tag == "train" or (step == "validate" and figures.tag != TEST):
        return ""
    names = ("loss", "loss_mem", "etm_accuracy", "mlm_accuracy", "macro_auc", "ecg_to_text_r10", "text_to_ecg_r10")
    values = "  ".join(f"{name} {figures.values[name]:.3f}" for name in names if name in figures.values)
    where = "" if figures.tag == TEST else f"update {figures.values.get('num_updates', 0):.0f}  "
    return f"{'training  ' if figures.tag == INNER else figures.tag + '  '}{where}{values}"


def check_settings(dest: Path, arguments: argparse.Namespace) -> None:
    """Refuse to mix two demos in one folder.

    Raises:
        DataError: the folder belongs to a demo with other settings, or to something else.
    """
    names = ("records", "noise", "updates", "seed", "quick")
    settings = {name: getattr(arguments, name) for name in names}
    path = dest / "demo.json"
    if path.is_file():
        found = read_json(path)
        if found != settings:
            found = json.dumps(found)
            raise DataError(f"{dest}: holds a demo with other settings ({found}); choose another --dest or delete it")
    elif dest.is_dir() and any(dest.iterdir()):
        raise DataError(f"{dest}: not empty and not a demo; choose another --dest")
    else:
        write_json(path, settings)
    (dest / "logs").mkdir(exist_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 1 when a figure misses its bar."""
    arguments = parser().parse_args(argv)
    if arguments.records < 100:
        raise DataError(f"--records {arguments.records}: at least 100, or some split stays empty")
    dest = arguments.dest.resolve()
    check_settings(dest, arguments)
    start = time.monotonic()
    todo = steps(arguments, dest)
    again = False
    for number, step in enumerate(todo, start=1):
        again = run_step(step, number, len(todo) + 1, dest, again)
    print(f"\n[{len(todo) + 1}/{len(todo) + 1}] figures and report page", flush=True)
    commands = [shown(step.command) for step in todo]
    sys.path.insert(0, str(REPOSITORY))  # examples/ is not installed
    from examples.demo.page import write_report  # late: it loads torch and the host

    figures = write_report(dest, commands, TEST, {} if arguments.quick else BARS)
    print(f"\n{time.monotonic() - start:.0f} s in this run\n")
    for figure in figures:
        bar = f"{'at most' if figure.is_error else 'bar'} {figure.bar:.3f}" if figure.bar is not None else ""
        verdict = bar and f"{bar}: " + ("reached" if figure.passed else "MISSED")
        print(f"  {figure.name:48s} {figure.value:.3f}  {verdict}")
    print(f"\nReport: {dest / 'report.html'}")
    print(f"Your own data: the commands above with your folder in place of {dest / 'cohort'}; README.md has them in ten lines.")
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(run(main))
