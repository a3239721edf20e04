"""Commands one after the other, each typed as a user would, with logs and a stamp: what is done is not done again."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.errors import DataError

REPOSITORY = Path(__file__).resolve().parents[2]


class Command(NamedTuple):
    """One step of a run: its name, what is typed, and the file that shows it was done."""

    name: str
    words: list[str]
    output: Path


def host_command(name: str) -> list[str]:
    """A command of the host from this Python's own environment."""
    beside = Path(sys.executable).parent / name
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", f"fairseq_cli.{name[8:].replace('-', '_')}"]


def needs_cpu_switch() -> bool:
    """fairseq looks for a GPU unless told not to; fairseq-signals takes the CPU by itself and has no such setting."""
    host = os.environ.get("CMELT_HOST") or ("fairseq" if importlib.util.find_spec("fairseq") else "fairseq_signals")
    return host == "fairseq" and not torch.cuda.is_available()


def run_commands(steps: Sequence[Command], folder: Path, jobs: int = 1) -> int:
    """Run the steps that are not done yet; return how many were run.

    Args:
        steps: in order.
        folder: logs and stamps go to its ``logs/``.
        jobs: how many such runs share the machine. Each has ``OMP_NUM_THREADS`` threads, or its part of the cores.

    Raises:
        DataError: one failed; the message holds the end of its log.
    """
    done, threads = 0, os.environ.get("OMP_NUM_THREADS") or max((os.cpu_count() or 1) // jobs, 1)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for step in steps:
        stamp, log = folder / "logs" / f"{step.name}.done.json", folder / "logs" / f"{step.name}.log"
        if stamp.is_file() and step.output.exists() and read_json(stamp)["command"] == step.words:
            continue
        stamp.unlink(missing_ok=True)
        start = time.monotonic()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")])),
        }
        # Appended: an interrupted training writes the rest of its curve behind the beginning.
        with open(log, "a", encoding="utf-8") as handle:
            code = subprocess.run(step.words, stdout=handle, stderr=subprocess.STDOUT, env=environment).returncode
        if code != 0:
            tail = "\n".join(line[:300] for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
            raise DataError(f"{shlex.join(step.words)}\nfailed with exit code {code}; the end of {log}:\n{tail}")
        write_json(stamp, {"command": step.words, "seconds": time.monotonic() - start})
        done += 1
    return done
