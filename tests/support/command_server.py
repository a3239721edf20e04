"""A process that has imported what the hosts' commands need and forks to run each of them: importing it takes seconds.

    python command_server.py

Reads requests, a line of JSON each, and answers each with a line of exit codes. A request is
``{"arguments": […], "environments": [{…}, …], "outputs": [FILE, …], "cwd": FOLDER, "first": CODE, "seconds": NUMBER}``: the
arguments of ``python``, ``-m MODULE …``, ``-c CODE …`` or ``SCRIPT …``; environment and a file for what is printed, for each of
the processes, which run at the same time; code to run before the command; after how many seconds it is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from tests.reliability.killing import forked, kill_after

HEAVY = ("numpy", "pyarrow.parquet", "scipy.stats", "sklearn.metrics", "torch")  # with the host, what most commands import


def execute(arguments: list[str]) -> None:
    """What ``python`` does with its arguments."""
    kind, *rest = arguments
    if kind == "-m":
        sys.argv, sys.path[0] = rest, os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.argv, sys.path[0] = arguments, str(Path(kind).parent)
        runpy.run_path(kind, run_name="__main__")


def exit_code(request: dict[str, Any], rank: int) -> int:
    """Run a command in this process to its end."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environments"][rank])
    os.chdir(request["cwd"])
    code: Any = 0
    try:
        exec(request["first"], {})
        execute(request["arguments"])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    atexit._run_exitfuncs()
    return code


def import_libraries() -> None:
    """What most of the commands import. Nothing of this project stays: its own imports are those of each command alone."""
    for name in HEAVY:
        importlib.import_module(name)
    package = importlib.import_module("cmelt_plugin.huggingface")  # registers nothing, for there is no host yet
    package.import_transformers().T5EncoderModel  # noqa: B018  (by the package's door: torchaudio may be unusable)
    for name in [name for name in sys.modules if name.split(".")[0] == "cmelt_plugin"]:
        del sys.modules[name]
    with contextlib.suppress(ImportError):  # a command that needs it says so
        importlib.import_module(os.environ["CMELT_HOST"])


def main() -> None:
    import_libraries()
    gc.freeze()  # children copy nothing that they only look at
    for line in sys.stdin:
        request = json.loads(line)
        works = [functools.partial(exit_code, request, rank) for rank in range(len(request["outputs"]))]
        children = [forked(work, Path(output)) for work, output in zip(works, request["outputs"])]
        print(json.dumps([kill_after(child, request["seconds"]) for child in children]), flush=True)


if __name__ == "__main__":
    main()
