"""Running the hosts' own commands in tests: which interpreters there are, and how a tiny training is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TINY_MODEL

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = ("fairseq", "fairseq_signals")


def host_python(name: str) -> str:
    """Interpreter that has the host; skips the test where there is none."""
    if name == "fairseq":
        pytest.importorskip("fairseq", reason="fairseq is not installed; run 'make install'")
        return sys.executable
    python = os.environ.get("CMELT_SIGNALS_PYTHON")
    if not python:
        pytest.skip("set CMELT_SIGNALS_PYTHON to a Python that has fairseq-signals (installed from its source)")
    return python


def environment(name: str, **extra: str) -> dict[str, str]:
    """Environment of a host's process: this checkout, no network, one thread, the host named."""
    kept = {key: value for key, value in os.environ.items() if key not in ("CMELT_HOST", "MASTER_ADDR", "MASTER_PORT")}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "CMELT_HOST": name, **offline, **extra}


def model_overrides() -> list[str]:
    """Hydra overrides that make ``cmelt_tiny`` as small as ``tiny.tiny_model``."""
    values = {key: value for key, value in TINY_MODEL.items() if not isinstance(value, bool)}
    return [f"model.{key}='{value}'" if isinstance(value, str) else f"model.{key}={value}" for key, value in values.items()]


def command(name: str, module: str, overrides: list[str], processes: int = 1) -> list[str]:
    """A host's hydra command with the tiny configuration."""
    python = host_python(name)
    launcher = [python] if processes == 1 else [python, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    config = ["--config-dir", str(REPOSITORY / "examples" / "pretrain"), "--config-name", "cmelt_tiny"]
    on_cpu = ["common.cpu=true"] if name == "fairseq" else []
    return [*launcher, "-m", f"fairseq_cli.{module}", *config, *on_cpu, *overrides]


def train_command(name: str, data: Path, text_encoder: Path, dest: Path, *overrides: str, processes: int = 1) -> list[str]:
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
    return command(name, "hydra_train", [*fixed, *overrides], processes)


def run(arguments: list[str], name: str, cwd: Path, timeout: int = 300) -> str:
    """Run to the end and return what was printed; fails the test with that text otherwise."""
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env=environment(name),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def ask(name: str, script: str) -> str:
    """What a script prints in a process of a host; fails the test with its errors otherwise."""
    done = subprocess.run([host_python(name), "-c", script], env=environment(name), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def logged(output: str, tag: str) -> list[dict[str, str]]:
    """The JSON log lines of one kind: ``train_inner``, ``train`` or ``valid``."""
    lines = [line for line in output.splitlines() if f"[{tag}]" in line or f" | {tag} | " in line]
    return [json.loads(line[line.index("{") :]) for line in lines]


def losses(output: str) -> dict[int, str]:
    """Update → loss as printed."""
    return {int(line["num_updates"]): line["loss"] for line in logged(output, "train_inner")}


def last(lines: list[dict[str, str]]) -> dict[str, str] | None:
    return lines[-1] if lines else None
