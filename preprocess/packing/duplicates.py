"""Records of one id: the first that can be used is packed, those after it are rejected as duplicates.

Which one that is depends on the recordings, perhaps on such as another process packs at the same time. So whoever meets a
later one looks for himself whether an earlier one can be used, and all come to the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import pandas as pd

DUPLICATE = "duplicate: an earlier record has the same id"

Earlier = dict[int, list[int]]
"""Input number of a record → those of the earlier records of its id, in their order."""


def find_earlier(ids: Sequence[str], reasons: Sequence[str]) -> Earlier:
    """The earlier records of all that have any; those with a reason of their own to be rejected do not count."""
    series = pd.Series(ids)
    earlier: Earlier = {}
    several = series[series.duplicated(keep=False)]
    for _, numbers in several.groupby(several, sort=False).groups.items():
        before: list[int] = []
        for number in numbers.tolist():
            if before:
                earlier[number] = before  # one list for all of an id; what lies behind is cut off when it is read
            if not reasons[number]:
                before.append(number)
    return {number: numbers for number, numbers in earlier.items() if numbers}


class FirstUsable:
    """Whether an earlier record of an id can be used; each is tried once at most.

    Args:
        earlier: see :data:`Earlier`.
        usable: tries the record of an input number.
    """

    def __init__(self, earlier: Earlier, usable: Callable[[int], bool]) -> None:
        self._earlier = earlier
        self._usable = usable
        self._known: dict[int, bool] = {}

    def note(self, number: int, usable: bool) -> None:
        """Remember what became of a record that was packed or rejected."""
        self._known[number] = usable

    def is_duplicate(self, number: int) -> bool:
        """Whether an earlier record of the same id can be used."""
        for other in self._earlier.get(number, ()):
            if other >= number:
                return False
            if other not in self._known:
                self._known[other] = self._usable(other)
            if self._known[other]:
                return True
        return False


def packed_rows(ids: Sequence[str], rejected: Path) -> dict[str, int]:
    """Which input row was packed, of every id that occurs several times; without those of which none was.

    Args:
        ids: of all input rows.
        rejected: rejected.tsv of the directory, whose rows are in input order: before the row that was packed they give
            other reasons, after it all are duplicates.
    """
    series = pd.Series(ids)
    several = series[series.duplicated(keep=False)]
    rows = {str(name): numbers.tolist() for name, numbers in several.groupby(several).groups.items()}
    before: dict[str, int] = dict.fromkeys(rows, 0)
    count: dict[str, int] = dict.fromkeys(rows, 0)
    written = {" ".join(name.split()): name for name in rows}
    with open(rejected, encoding="utf-8", newline="\n") as handle:
        for line in handle:
            name, _, reason = line.rstrip("\n").split("\t")
            record_id = written.get(name)
            if record_id is not None:
                count[record_id] += 1
                before[record_id] += reason != DUPLICATE
    return {name: numbers[before[name]] for name, numbers in rows.items() if count[name] == len(numbers) - 1}
