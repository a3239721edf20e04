"""Batches of texts of similar length, so that little padding is computed.

An epoch's random order is cut into chunks of ``CHUNK`` batches. Which records of a chunk are shown with a negative report
follows from their places in the order, so that the length of every text is known before batches are made. The texts of the
chunk, swapped and own ones apart, are sorted by length and dealt to its batches from the shortest on: each batch gets its
half of swapped records, and both halves from the same ranks.

Short reports are frequent ones: sorting alone would fill whole batches with one text, which leaves the contrastive loss
nothing to tell apart. A text that has filled its part of a batch therefore waits for the next one. As it is no longer than
the texts there, that costs no more than its own padding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CHUNK = 64
"""Batches among which texts are sorted."""
MOST_COPIES = 1 / 16
"""Share of the places for swapped (or own) texts in a batch that one text may always take."""
MOST_SHARES = 2
"""Frequent texts may take so many times what they would take if the chunk's copies were dealt out evenly."""


def swapped_places(n: int, size: int) -> np.ndarray:
    """Which places of an epoch's random order get a negative report, bool ``[n]``: half of each batch, rounded down."""
    swapped = np.zeros(n, dtype=bool)
    for start, n_batches in _chunks(n // size):
        swapped[start * size : start * size + n_batches * (size // 2)] = True
    rest = n % size
    swapped[n - rest : n - rest + rest // 2] = True
    return swapped


def length_groups(lengths: np.ndarray, texts: np.ndarray, size: int, n_ranks: int, rng: np.random.Generator) -> np.ndarray:
    """Places in an epoch's order, batch after batch, in the order in which these are to be dealt to the ranks.

    Which places make a batch depends on the texts and ``size`` alone. Each run of ``n_ranks`` batches, which the ranks
    compute at the same time and wait for each other in, is of similar length; the runs come in random order. Batches that
    fill no run, and then the last ``n % size`` places as they are, come at the end.

    Args:
        lengths: tokens of the text shown at each place, int ``[n]``.
        texts: which text that is, int ``[n]``.
        size: places in a batch.
        n_ranks: to which the batches are dealt in turn.
        rng: source of the order.

    Returns:
        int32 ``[n]``: a permutation.
    """
    n, half = len(lengths), size // 2
    batches = np.empty((n // size, size), dtype=np.int32)
    for number, (first, n_batches) in enumerate(_chunks(len(batches))):
        start, middle, end = (first * size + part for part in (0, n_batches * half, n_batches * size))
        dealt = [
            part.start + deal_by_length(lengths[part], texts[part], n_batches)
            for part in (slice(start, middle), slice(middle, end))
        ]
        # Up and down in turn, so that a run across two chunks is of similar length, too.
        batches[first : first + n_batches] = np.concatenate(dealt, axis=1)[:: 1 if number % 2 == 0 else -1]
    n_runs = len(batches) // n_ranks
    order = np.arange(len(batches))
    order[: n_runs * n_ranks] = (rng.permutation(n_runs)[:, None] * n_ranks + np.arange(n_ranks)).ravel()
    return np.concatenate([batches[order].ravel(), np.arange(n - n % size, n, dtype=np.int32)])


def deal_by_length(lengths: np.ndarray, texts: np.ndarray, n_batches: int) -> np.ndarray:
    """Indices into ``lengths [n_batches * rows]`` for each batch, shortest texts first: int64 ``[n_batches, rows]``.

    A batch takes at most ``max(rows * MOST_COPIES, copies / n_batches * MOST_SHARES)`` copies of a text, rounded up, as
    long as others are left.
    """
    rows = len(lengths) // n_batches
    _, text, copies = np.unique(texts, return_inverse=True, return_counts=True)
    most = np.ceil(np.maximum(rows * MOST_COPIES, copies / n_batches * MOST_SHARES)).astype(np.int64)
    left = np.argsort(lengths, kind="stable")
    # Number of each place among those with the same text, in order of length, in which they will be taken.
    number = np.empty(len(left), dtype=np.int64)
    number[left[np.argsort(text[left], kind="stable")]] = np.arange(len(left)) - np.repeat(np.cumsum(copies) - copies, copies)
    allowed = most.copy()
    dealt = np.empty((n_batches, rows), dtype=np.int64)
    for batch in dealt:
        # Places among the first few that may be taken; seldom all that is left has to be looked at.
        for window in (4 * rows, len(left)):
            ahead = left[:window]
            free = number[ahead] < allowed[text[ahead]]
            taken = np.flatnonzero(free)[:rows]
            if len(taken) == rows:
                break
        else:
            taken = np.concatenate([taken, np.flatnonzero(~free)[: rows - len(taken)]])
        batch[:] = left[taken]
        left = np.delete(left, taken)
        allowed += np.bincount(text[batch], minlength=len(most))
    return dealt


def _chunks(n_batches: int) -> Iterator[tuple[int, int]]:
    """First batch and number of batches of each chunk."""
    for first in range(0, n_batches, CHUNK):
        yield first, min(CHUNK, n_batches - first)
