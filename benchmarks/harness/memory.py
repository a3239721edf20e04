"""Memory of a process as Linux counts it, and measuring in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.machine import REPOSITORY

MB = 1e6


class Memory(NamedTuple):
    """Megabytes (10^6 bytes) of a process.

    Attributes:
        resident: all of it that is in memory.
        anonymous: what belongs to no file; files that are memory-mapped are shared and can be dropped.
        peak: largest ``resident`` since the start or the last :func:`reset_peak`.
    """

    resident: float
    anonymous: float
    peak: float


def read_memory(pid: int | str = "self") -> Memory:
    """Memory of a process now. Linux only."""
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if value.strip().endswith(" kB"):
            fields[key] = int(value.split()[0]) * 1024 / MB
    return Memory(fields["VmRSS"], fields["RssAnon"], fields["VmHWM"])


def unshared(pid: int | str = "self") -> float:
    """Megabytes that no other process shares: what one more data-loader worker costs. Linux only."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith("Private_"))


def reset_peak() -> bool:
    """Begin the peak anew; False where the system does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def run_fresh(module: str, arguments: dict[str, Any], threads: int | None = None, timeout: float = 3600) -> dict[str, Any]:
    """Call ``module.fresh(**arguments)`` in a new interpreter; return the dictionary it returns.

    Args:
        module: name of an importable module.
        arguments: keyword arguments, representable in JSON.
        threads: of OpenMP there; None: as here.
        timeout: seconds.

    Raises:
        RuntimeError: it failed; the message holds the end of its output.
    """
    code = (
        "import importlib, json, sys; "
        "answer = importlib.import_module(sys.argv[1]).fresh(**json.loads(sys.argv[2])); "
        "print('\\n' + json.dumps(answer))"
    )
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-c", code, module, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"{module} failed in a fresh process:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
