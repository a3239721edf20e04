"""How the commands of this package begin and end: one line for what the user can mend, a traceback for our own faults.

Commands import this module before anything else (pyproject.toml orders it so): importing torch and the host takes seconds,
in which Ctrl-C ends the command as quietly as later.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import Callable

from cmelt_plugin.errors import explanation

INTERRUPTED = 130  # what shells report of a process that Ctrl-C ended
_ROOT = Path(__file__).resolve().parents[1]
_COMMANDS = [_ROOT / name for name in ("cmelt_plugin", "preprocess", "examples", "benchmarks")]


def run(main: Callable[[], int]) -> int:
    """Call a command's ``main`` and return its exit code.

    Unusable input, lack of memory and failures of the file system end in one line on stderr and exit code 1, Ctrl-C in exit
    code 130, a closed pipe (``... | head``) in 0. Other exceptions are faults of the program and keep their traceback.
    """
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        return main()
    except BrokenPipeError:
        # The interpreter would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        message = explanation(error)
        if message is None:
            raise
    print(f"error: {message}", file=sys.stderr)
    return 1


def _leave(number: int, frame: FrameType | None) -> None:
    """Ctrl-C among the imports: nothing has been begun, and what imports raise in its place is unreadable."""
    os.write(2, b"\ninterrupted\n")
    os._exit(INTERRUPTED)


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a command among its imports: a package that is not installed in one line, everything else as ever."""
    message = explanation(error) if isinstance(error, ModuleNotFoundError) else None
    if message is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {message}", file=sys.stderr)


def _is_command(main: object) -> bool:
    """Whether a main module is one of our files: not a notebook, nor a test."""
    path = getattr(main, "__file__", None)
    return path is not None and any(folder in Path(path).resolve().parents for folder in _COMMANDS)


if _is_command(sys.modules.get("__mp_main__")):  # a process that a command spawned, which ends as silently with it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
elif _is_command(sys.modules.get("__main__")):
    sys.excepthook = _say
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
