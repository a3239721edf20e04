"""Killing a piece of work at random moments and doing it again, until it comes to its end."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm


def forked(work: Callable[[], int], log: Path) -> int:
    """Start ``work`` in a forked child, a process group of its own that prints into ``log``; returns its process id.

    A fork needs no imports, so that hundreds of runs take seconds. It leaves with the exit code that ``work`` returns, 70
    after an exception.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setpgid(0, 0)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        # tqdm's own lock is shared by all forks of a process: one that is killed while it holds it would stop all others.
        tqdm.set_lock(threading.RLock())
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        code = work()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 70
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int) -> int:
    """Exit code of a child, minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_after(child: int, seconds: float) -> int:
    """Kill a child and what it started with SIGKILL after so long, unless it ends before; its exit code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(min(0.002, max(end - time.monotonic(), 0)))
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # before it became a group of its own
        os.kill(child, signal.SIGKILL)
    return wait(child)


def kill_until_done(
    work: Callable[[], int], log: Path, random: np.random.Generator, seconds: float, kills: int
) -> tuple[int, int, str]:
    """Run ``work`` again and again, each time for a random while, at last without limit.

    Args:
        work: what is done, and resumed where it stopped.
        log: what the last run printed.
        random: of the moments.
        seconds: an uninterrupted run takes; a kill comes within a third of it, so that several meet its course.
        kills: how many at most.

    Returns:
        Kills that met a run, exit code of the last run, and what it printed.
    """
    done = 0
    for _ in range(kills):
        code = kill_after(forked(work, log), float(random.uniform(0, seconds / 3)))
        if code == -signal.SIGKILL:
            done += 1
        elif code:
            return done, code, log.read_text(errors="replace")
    code = wait(forked(work, log))
    return done, code, log.read_text(errors="replace")


def contents(folder: Path) -> dict[str, str]:
    """Every file below ``folder``, hidden ones too, with the digest of its bytes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def differences(whole: dict[str, str], found: dict[str, str]) -> str:
    """Names of files that are missing, not expected or other, for a message."""
    return ", ".join(sorted(name for name in {*whole, *found} if whole.get(name) != found.get(name)))
