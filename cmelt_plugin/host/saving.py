"""Checkpoints are written and copied whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cmelt_plugin.errors import DataError

TEMPORARY = ".tmp"  # as the hosts call a checkpoint that is being written
ATTEMPTS, PAUSE = 3, 2.5  # as the hosts do; seconds


def save_whole(state: Any, path: str) -> None:
    """``torch.save`` under a temporary name, then renamed.

    Raises:
        DataError: it cannot be written, after three attempts; the file under the final name is the old one.
    """

    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave an empty file under the final name

    _whole(path, write)


def copy_whole(source: str, path: str) -> bool:
    """Copy under a temporary name, then rename; True, as the hosts ask for.

    It is not waited for until the copy is on the disk: should a power cut damage it, resuming takes what it was copied from.

    Raises:
        DataError: as :func:`save_whole`.
    """
    _whole(path, lambda temporary: shutil.copyfile(source, temporary))
    return True


def _whole(path: str, write: Callable[[str], Any]) -> None:
    # The hosts' own name: what a kill leaves of it is written over by the next attempt.
    temporary = path + TEMPORARY
    for attempt in range(ATTEMPTS):
        try:
            write(temporary)
            os.replace(temporary, path)
            return
        except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError
            Path(temporary).unlink(missing_ok=True)
            if attempt + 1 == ATTEMPTS:
                raise DataError(
                    f"{path}: the checkpoint cannot be written ({str(error).splitlines()[0]}); those written before are "
                    "whole: make room and run the same command again"
                ) from None
            time.sleep(PAUSE)
