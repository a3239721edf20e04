"""Running the commands one after the other, each once: what it printed is kept, some of it shown."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.report.training_log import INNER, parse_line
from examples.demo.commands import TEST, Step

LOGGED = ("train", "validate")  # the host's own commands
MOST_LINES = 14
"""Of the output of any other command, which lists a hundred findings, so many lines are shown."""


def run_step(step: Step, number: int, total: int, dest: Path, again: bool, metrics: Sequence[str]) -> bool:
    """Run one command, unless it has finished before and ``again`` is not set; return whether it was run.

    Args:
        step: the command.
        number, total: its place among all steps.
        dest: the demo's folder.
        again: whether an earlier step was run, so that what this one left behind is out of date.
        metrics: which of the logged ones are shown.

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
            n_lines = 0
            for line in process.stdout:
                log.write(line)
                log.flush()
                text = progress(line, step.name, metrics)
                n_lines += bool(text)
                if text and (step.name in LOGGED or n_lines <= MOST_LINES):
                    print(f"  {text}", flush=True)
            if step.name not in LOGGED and n_lines > MOST_LINES:
                print(f"  … and {n_lines - MOST_LINES} more lines in {shown([str(log_path)])}", flush=True)
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


def progress(line: str, step: str, metrics: Sequence[str]) -> str:
    """What is shown of a line of a command's output; "" for nothing."""
    if step not in LOGGED:
        return "" if "%|" in line or "it/s]" in line or line.startswith("{") else line.rstrip()  # progress, scores
    logged = parse_line(line)
    if logged is None or logged.tag == "train" or (step == "validate" and logged.tag != TEST):
        return ""
    values = "  ".join(f"{name} {logged.values[name]:.3f}" for name in metrics if name in logged.values)
    where = "" if logged.tag == TEST else f"update {logged.values.get('num_updates', 0):.0f}  "
    return f"{'training  ' if logged.tag == INNER else logged.tag + '  '}{where}{values}"
