"""The order of an epoch's batches where each is of one source, and where all ranks have the same source at a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIXES = ("proportional", "released")
SMALLEST_BATCH = 2  # a single pair has no negatives


def source_batches(
    rows: Sequence[np.ndarray], size: int, n_ranks: int, rng: np.random.Generator, mix: str = MIXES[0]
) -> list[np.ndarray]:
    """Batches in runs of ``n_ranks`` of one source, to be dealt to the ranks in turn.

    Args:
        rows: those of each source, in the order in which they are taken.
        size: rows of a batch.
        n_ranks: ranks that train together.
        rng: source of the order of the runs.
        mix: ``proportional``: the runs of all sources in a random order; what fills no run makes one of smaller batches, if
            that gives each rank two rows. ``released``: at every step a source is drawn, all that have a full run left being
            as likely, so that a small source is used up early; what fills no run is left out.

    Raises:
        ValueError: another ``mix``.
    """
    if mix not in MIXES:
        raise ValueError(f"mix must be one of {', '.join(MIXES)}, not {mix!r}")
    runs = [_runs(order, size, n_ranks, mix == "proportional") for order in rows]
    left = np.array([len(own) for own in runs])
    if mix == "proportional":
        turns = rng.permutation(np.repeat(np.arange(len(runs)), left))
    else:
        turns = np.empty(left.sum(), dtype=np.int64)
        for step in range(len(turns)):
            turns[step] = rng.choice(np.flatnonzero(left))
            left[turns[step]] -= 1
    next_run = [iter(own) for own in runs]
    return [batch for source in turns for batch in next(next_run[source])]


def _runs(order: np.ndarray, size: int, n_ranks: int, keep_rest: bool) -> list[list[np.ndarray]]:
    whole = len(order) // (size * n_ranks)
    runs = [[batch for batch in run] for run in order[: whole * size * n_ranks].reshape(whole, n_ranks, size)]
    rest = order[whole * size * n_ranks :]
    if keep_rest and len(rest) >= SMALLEST_BATCH * n_ranks:
        runs.append(np.array_split(rest, n_ranks))
    return runs
