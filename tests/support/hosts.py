"""Running the hosts' own commands in tests: which interpreters there are, and how a tiny training is started."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY_MODEL

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = ("fairseq", "fairseq_signals")
SERVER = Path(__file__).with_name("command_server.py")


def host_python(name: str) -> str:
    """Interpreter that has the host; skips the test where there is none."""
    if name == "fairseq":
        pytest.importorskip("fairseq", reason="fairseq is not installed; run 'make install'")
        return sys.executable
    python = os.environ.get("CMELT_SIGNALS_PYTHON")
    if not python and importlib.util.find_spec(name) is not None:
        return sys.executable
    if not python:
        pytest.skip("set CMELT_SIGNALS_PYTHON to a Python that has fairseq-signals (installed from its source)")
    return python


def environment(name: str, **extra: str) -> dict[str, str]:
    """Environment of a host's process: this checkout, no network, one thread, the host named."""
    kept = {key: value for key, value in os.environ.items() if key not in ("CMELT_HOST", "MASTER_ADDR", "MASTER_PORT")}
    # One thread, of numpy's own libraries too: results must not depend on how many cores there are.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "CMELT_HOST": name, **offline, **threads, **extra}


def model_overrides() -> list[str]:
    """Hydra overrides that make ``cmelt_tiny`` as small as ``tiny.tiny_model``."""
    values = {key: value for key, value in TINY_MODEL.items() if not isinstance(value, bool)}
    return [f"model.{key}='{value}'" if isinstance(value, str) else f"model.{key}={value}" for key, value in values.items()]


def command(name: str, module: str, overrides: list[str]) -> list[str]:
    """A host's hydra command with the tiny configuration."""
    config = ["--config-dir", str(REPOSITORY / "examples" / "pretrain"), "--config-name", "cmelt_tiny"]
    on_cpu = ["common.cpu=true"] if name == "fairseq" else []
    return [host_python(name), "-m", f"fairseq_cli.{module}", *config, *on_cpu, *overrides]


def train_command(name: str, data: Path, text_encoder: Path, dest: Path, *overrides: str) -> list[str]:
    """``fairseq-hydra-train`` of a tiny model, 8 pairs a batch, every update logged."""
    fixed = [
        f"task.data={data}",
        f"model.text_encoder={text_encoder}",
        f"checkpoint.save_dir={dest}",
        "dataset.batch_size=8",
        "dataset.num_workers=0",
        "common.log_interval=1",
        *model_overrides(),
    ]
    return command(name, "hydra_train", [*fixed, *overrides])


def torchrun(arguments: list[str], processes: int) -> list[str]:
    """The same command in several processes, by torch's own launcher."""
    return [arguments[0], "-m", "torch.distributed.run", "--nproc_per_node", str(processes), *arguments[1:]]


@functools.cache
def _server(name: str) -> subprocess.Popen:
    """The process that runs the commands of a host, started once; it ends with this one."""
    command = [host_python(name), str(SERVER)]
    server = subprocess.Popen(command, env=environment(name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)  # closes its input
    return server


def outcome(
    arguments: list[str], name: str, cwd: Path, processes: int = 1, timeout: int = 300, first: str = "", **extra: str
) -> tuple[int, str]:
    """Run a command of a host to its end, by a fork of a process that has imported what is heavy.

    Args:
        arguments: the interpreter of the host and what it is given.
        name: of the host.
        cwd: folder to run it in.
        processes: run it in so many at the same time, joined as ``torchrun`` joins them.
        timeout: seconds after which it is killed.
        first: code to run before it.
        **extra: more variables of its environment.

    Returns:
        Exit code, of several processes the first that is not 0; what was printed, of one process after the other.
    """
    assert arguments[0] == host_python(name)
    ranks: Sequence[dict[str, str]] = [{}]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(processes)}
        ranks = [{**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    server = _server(name)
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / str(rank) for rank in range(processes)]
        request = {
            "arguments": arguments[1:],
            "environments": [{**environment(name), **extra, **rank} for rank in ranks],
            "outputs": list(map(str, outputs)),
            "cwd": str(cwd),
            "first": first,
            "seconds": timeout,
        }
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        codes = json.loads(server.stdout.readline())
        printed = "".join(output.read_text(encoding="utf-8", errors="replace") for output in outputs)
    return next(filter(None, codes), 0), printed


def run(arguments: list[str], name: str, cwd: Path, processes: int = 1) -> str:
    """:func:`outcome` that must be good; returns what was printed and fails the test with that text otherwise."""
    code, printed = outcome(arguments, name, cwd, processes)
    assert code == 0, printed[-6000:]
    return printed


def refused(arguments: list[str], name: str, cwd: Path) -> str:
    """:func:`outcome` that must not be good; returns what was printed, with single blanks."""
    code, printed = outcome(arguments, name, cwd)
    assert code > 0, printed[-6000:]
    return " ".join(printed.split())


def ask(name: str, script: str) -> str:
    """What a script prints in a process of a host."""
    return run([host_python(name), "-c", script], name, REPOSITORY)


def facts(name: str, script: str) -> Any:
    """What a script prints as JSON behind ``FACTS``, among the warnings of a host."""
    return json.loads(ask(name, script).split("FACTS")[1].splitlines()[0])


def logged(output: str, tag: str) -> list[dict[str, str]]:
    """The JSON log lines of one kind: ``train_inner``, ``train`` or ``valid``."""
    lines = [line for line in output.splitlines() if f"[{tag}]" in line or f" | {tag} | " in line]
    return [json.loads(line[line.index("{") :]) for line in lines]


def losses(output: str) -> dict[int, str]:
    """Update → loss as printed."""
    return {int(line["num_updates"]): line["loss"] for line in logged(output, "train_inner")}


def last(lines: list[dict[str, str]]) -> dict[str, str] | None:
    return lines[-1] if lines else None
