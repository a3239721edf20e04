"""Work for tests of engines, in a module of its own so that worker processes can import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Recording
from cmelt_plugin.errors import DataError
from tests.preprocess.mimic_layout import make_ecg


def square(number: int) -> tuple[int, int]:
    """The number, and its square."""
    return number, number**2


def note_and_wait(path: str) -> None:
    """Write this process's number into a file and stay for two minutes."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(120)


def refuse(number: int) -> int:
    """Fail in the way commands fail."""
    raise DataError(f"number {number} is bad")


def die_once(item: tuple[int, str]) -> int:
    """Kill this process where the number is 3 and the marker does not exist yet."""
    number, marker = item
    if number == 3:
        _kill_once(Path(marker))
    return number


def die(number: int) -> int:
    """Kill this process where the number is 0."""
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def read_or_die_once(path: str) -> Recording:
    """A reader without files: the record named ``killer`` kills its process, unless an earlier try left a file."""
    if Path(path).name == "killer":
        _kill_once(Path(path))
    return Recording(make_ecg(sum(Path(path).name.encode())), list(LEADS), ["mV"] * 12, 500)


def _kill_once(marker: Path) -> None:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
