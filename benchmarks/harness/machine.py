"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[2]


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, memory, versions and, for a CUDA device, the GPU; unknown values are left out."""
    description: dict[str, Any] = {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "ram_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": commit(),
    }
    if torch.device(device).type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        description.update(
            gpu=properties.name,
            gpu_memory_gb=round(properties.total_memory / 1e9, 1),
            cuda=torch.version.cuda,
            gpu_clock_mhz=gpu_clock(),
        )
    return {key: value for key, value in description.items() if value is not None}


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_clock() -> str | None:
    """Current and largest clock of the first GPU's multiprocessors, MHz, as nvidia-smi tells it."""
    return _output(["nvidia-smi", "--query-gpu=clocks.sm,clocks.max.sm", "--format=csv,noheader,nounits", "--id=0"])


def commit() -> str | None:
    """The checkout's commit, marked where files differ from it."""
    return _output(["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"])


def one_line(machine: dict[str, Any]) -> str:
    """The description for the head of a table."""
    parts = [f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores, {machine.get('ram_gb', '?')} GB"]
    if "gpu" in machine:
        parts.append(f"{machine['gpu']}, {machine.get('gpu_memory_gb', '?')} GB")
    parts.append(f"torch {machine.get('torch', '?')}, numpy {machine.get('numpy', '?')}, Python {machine.get('python', '?')}")
    parts.append(f"{machine.get('threads', '?')} threads")
    if "commit" in machine:
        parts.append(f"commit {machine['commit']}")
    return "; ".join(parts)


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return " ".join(done.stdout.split()) or None if done.returncode == 0 else None
