"""What each of two processes hears of a collapse. No test code here: both import this module anew."""

from __future__ import annotations

import torch
import torch.distributed as dist

from cmelt_plugin.criterions.collapse import CollapseWatch
from cmelt_plugin.errors import DataError


def watched(batches: list[tuple[float, float, bool]], window: int, ranks: bool = True) -> str | None:
    """The message after batches of (share of guessing, spread, whether it counts); None: no collapse."""
    watch = CollapseWatch(window)
    try:
        for share, width, counts in batches:
            watch.add(torch.tensor(share), torch.tensor(width), counts, dist.group.WORLD if ranks else None)
    except DataError as error:
        return str(error)
    return None
