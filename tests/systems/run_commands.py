"""Run commands one after the other, each in a process of its own, with the heavy imports of all of them done once.

    python run_commands.py FOLDER

runs FOLDER/commands.json, a list of ``[name, [argument, …]]`` whose arguments are those of ``python``: ``-m MODULE …`` or
``SCRIPT …``. What a command prints goes to FOLDER/logs/NAME.log and how it ended to FOLDER/logs/exit_codes.json.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path

# What most of the commands import. None is of this project: its own imports are those of each command alone.
# The last two are what transformers spends most of its own import on.
HEAVY = (
    *("numpy", "pyarrow.parquet", "scipy.stats", "sklearn.metrics", "torch"),
    *("torch._dynamo", "torch.distributed.tensor"),
)


def run_one(arguments: list[str], log: Path) -> int:
    """Run a command in a child process and return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)
        code = _run_here(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _convolve_directly() -> None:
    """Long convolutions as they were computed when the numbers were recorded: by way of frequencies the last bits differ."""
    with contextlib.suppress(ImportError):
        importlib.import_module("cmelt_plugin.modules.conv_positions").LONG = sys.maxsize


def _run_here(arguments: list[str]) -> int:
    try:
        _convolve_directly()
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main(folder: Path) -> None:
    for name in (*HEAVY, os.environ["CMELT_HOST"]):
        with contextlib.suppress(ImportError):  # a command that needs it says so
            importlib.import_module(name)
    logs = folder / "logs"
    logs.mkdir()
    codes = {}
    for name, arguments in json.loads((folder / "commands.json").read_text(encoding="utf-8")):
        codes[name] = run_one(arguments, logs / f"{name}.log")
    (logs / "exit_codes.json").write_text(json.dumps(codes), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
