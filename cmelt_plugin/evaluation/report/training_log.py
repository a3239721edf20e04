"""Reading what the hosts print with ``common.log_format=json``: one JSON object per line, after a logger's prefix.

Two prefixes occur, hydra's and the hosts' own::

    [2025-01-31 10:00:00,000][train_inner][INFO] - {"epoch": 1, "update": 0.1, "loss": "3.2", "num_updates": "50"}
    2025-01-31 10:00:00 | INFO | valid | {"epoch": 1, "valid_loss": "3.1", "valid_num_updates": "97"}

``train_inner`` lines come every ``log_interval`` updates; ``train`` and the names of validation subsets come once per
epoch, and their keys begin with that name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cmelt_plugin.errors import DataError

_LINE = re.compile(r"(?:^\[[^\]]*\]\[(?P<hydra>[^\]]+)\]\[INFO\] - |\| INFO \| (?P<host>\S+) \| )(?P<values>\{.*\})\s*$")
INNER = "train_inner"
UPDATE = "num_updates"


class LogLine(NamedTuple):
    """The numbers of one line.

    Attributes:
        tag: ``train_inner``, ``train`` or the name of a subset.
        values: numbers without the tag's prefix; what is not a number is left out.
    """

    tag: str
    values: dict[str, float]


def parse_line(line: str) -> LogLine | None:
    """The numbers of one line; None when it holds none."""
    match = _LINE.search(line)
    if match is None:
        return None
    tag = match["hydra"] or match["host"]
    try:
        entries = json.loads(match["values"])
    except json.JSONDecodeError:  # a line cut short when the run was killed
        return None
    values = {}
    for key, value in entries.items():
        try:
            values[key[len(tag) + 1 :] if key.startswith(f"{tag}_") else key] = float(value)
        except (TypeError, ValueError):
            continue
    return LogLine(tag, values) if values else None


def read_log(path: str | os.PathLike) -> list[LogLine]:
    """All lines of numbers of a log file.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            lines = [parse_line(line) for line in handle]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return [line for line in lines if line is not None]


def last_values(lines: Iterable[LogLine], tag: str) -> dict[str, float]:
    """Numbers of the last line of ``tag``.

    Raises:
        DataError: there is none.
    """
    values = [line.values for line in lines if line.tag == tag]
    if not values:
        raise DataError(f"the log holds no numbers of {tag!r}; was it written with common.log_format=json?")
    return values[-1]


def curve(lines: Iterable[LogLine], tag: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """One number over the course of training.

    Where a run was resumed and repeated some updates, the later value counts.

    Returns:
        updates int64 ``[n]``, increasing, and values float64 ``[n]``; both empty when it never occurs.
    """
    points = {
        int(line.values[UPDATE]): line.values[name]
        for line in lines
        if line.tag == tag and name in line.values and UPDATE in line.values
    }
    updates = sorted(points)
    return np.array(updates, dtype=np.int64), np.array([points[update] for update in updates], dtype=np.float64)
