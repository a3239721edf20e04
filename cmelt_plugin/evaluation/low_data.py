"""Parts of a training set for low-data probes.

Published results at 1 % and 10 % are on two different, disjoint parts, both from one permutation of the rows,
``RandomState(42).permutation(n)``: MERL's is its tail (scikit-learn's ``train_test_split``), MELP's its head (pandas'
``sample``). Both leave some classes without a positive at 1 %. The third rule, ours, gives every class one where the size
allows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cmelt_plugin.errors import DataError

RULES = ("merl", "melp", "stratified")
PUBLISHED_SEED = 42

# Rows of the training sets on which the published parts were drawn; from any other number of rows the draw is another.
PUBLISHED_ROWS = {
    "ptb-xl-super": 17084,
    "ptb-xl-sub": 17084,
    "ptb-xl-form": 7197,
    "ptb-xl-rhythm": 16832,
    "cpsc2018": 4950,
    "csn": 16546,
}


def subset_rows(
    labels: np.ndarray,
    fraction: float,
    rule: str = "merl",
    seed: int = PUBLISHED_SEED,
    groups: Sequence[str] | None = None,
) -> np.ndarray:
    """Rows of the training set to learn from. A smaller fraction's rows are among a larger one's.

    Args:
        labels: ``[N, C]`` 0/1/NaN of the whole training set, rows in its published order; ``merl`` and ``melp`` look at
            N alone.
        fraction: share of the rows, above 0 up to 1.
        rule: ``merl``: the last ⌊fraction · N⌋ of the permutation; ``melp``: its first round(fraction · N);
            ``stratified``: round(fraction · N) rows in which each class has its share, and at least one positive.
        seed: 42 gives the published parts.
        groups: subject ids; ``stratified`` then takes whole subjects, and the number of rows is only near the one wanted.

    Returns:
        int64, ascending.

    Raises:
        DataError: no such rule, a fraction outside (0, 1], or one that leaves no row.
    """
    labels = np.asarray(labels, dtype=np.float64)
    n = len(labels)
    if rule not in RULES:
        raise DataError(f"subset rule {rule!r} is not one of {', '.join(RULES)}")
    if not 0 < fraction <= 1:
        raise DataError(f"fraction {fraction}: must be above 0 and at most 1, e.g. 0.01 for 1 %")
    size = math.floor(fraction * n) if rule == "merl" else round(fraction * n)
    if size == 0:
        raise DataError(f"fraction {fraction} of {n} training records is none")
    if size == n:
        return np.arange(n)
    if rule == "stratified":
        return np.sort(_stratified(labels, size, seed, groups))
    order = np.random.RandomState(seed).permutation(n)
    return np.sort(order[n - size :] if rule == "merl" else order[:size])


def shot_rows(labels: np.ndarray, shots: int, seed: int = 0, groups: Sequence[str] | None = None) -> np.ndarray:
    """Rows for few-shot learning: ``shots`` records that have each class and as many that have it not.

    A record counts for every class whose label is known. Rarer classes are served first, by records in a random order, each
    subject's first one before all second ones. A class with fewer such records gives all it has.

    Args:
        labels: ``[N, C]`` 0/1/NaN of the whole training set.
        shots: of each kind, 1 or more.
        seed: of the order.
        groups: subject ids; None: each record is of another.

    Returns:
        int64, ascending. More shots with the same seed need not hold the rows of fewer.

    Raises:
        DataError: no record has a known label.
    """
    labels = np.asarray(labels, dtype=np.float64)
    order = np.random.default_rng(seed).permutation(len(labels))
    subject = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    kinds = np.concatenate([labels == 1, labels == 0], axis=1)
    taken = np.zeros(len(labels), dtype=bool)
    for column in np.argsort(kinds.sum(axis=0), kind="stable"):
        wanted = shots - int(kinds[taken, column].sum())
        candidates = order[kinds[order, column] & ~taken[order]]
        candidates = candidates[np.argsort(_occurrence(subject.reshape(-1)[candidates]), kind="stable")]
        taken[candidates[: max(0, wanted)]] = True
    if not taken.any():
        raise DataError(f"none of {len(labels)} training records has a known label")
    return np.flatnonzero(taken)


def _occurrence(values: np.ndarray) -> np.ndarray:
    """How often each value stood before in the list: int64 ``[n]``."""
    order = np.argsort(values, kind="stable")
    first = np.append(True, values[order][1:] != values[order][:-1]) if len(values) else np.zeros(0, dtype=bool)
    result = np.empty(len(values), dtype=np.int64)
    result[order] = np.arange(len(values)) - np.maximum.accumulate(np.where(first, np.arange(len(values)), 0))
    return result


def without_positives(labels: np.ndarray, rows: np.ndarray, names: Sequence[str]) -> list[str]:
    """Classes of which these rows hold no positive."""
    present = (np.asarray(labels, dtype=np.float64)[rows] > 0.5).any(axis=0)
    return [name for name, is_present in zip(names, present) if not is_present]


def _stratified(labels: np.ndarray, size: int, seed: int, groups: Sequence[str] | None) -> np.ndarray:
    """Rows taken one unit (row or subject) at a time, always of the class that lacks most, from a random order.

    What is taken does not depend on ``size``, which only says where to stop: that is why parts are nested.
    """
    n = len(labels)
    if groups is not None and len(groups) != n:
        raise ValueError(f"{len(groups)} subject ids for {n} records")
    group = np.arange(n) if groups is None else np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].reshape(-1)
    units = np.random.default_rng(seed).permutation(int(group.max()) + 1)
    position = np.empty_like(units)
    position[units] = np.arange(len(units))
    group = position[group]  # unit numbers now follow the random order

    positive = labels > 0.5
    # Records without any positive count as a class of their own, or they would never be taken.
    positive = np.column_stack([positive, ~positive.any(axis=1)]).astype(np.int64)
    rows_of = np.bincount(group, minlength=len(units))
    content = np.zeros((len(units), positive.shape[1]), dtype=np.int64)
    np.add.at(content, group, positive)
    waiting = [np.flatnonzero(content[:, c]) for c in range(content.shape[1])]
    next_waiting = [0] * len(waiting)
    taken = np.zeros(len(units), dtype=bool)
    have, total = np.zeros(content.shape[1], dtype=np.int64), 0

    def take(c: int) -> bool:
        """Take the next unit that holds class ``c``; False where it would bring the part further from its size."""
        nonlocal total
        while taken[waiting[c][next_waiting[c]]]:
            next_waiting[c] += 1
        unit = waiting[c][next_waiting[c]]
        if total and abs(total + rows_of[unit] - size) > abs(total - size):
            return False
        taken[unit] = True
        have[:] += content[unit]
        total += int(rows_of[unit])
        return True

    whole = positive.sum(axis=0)
    open_end = True
    for c in np.argsort(whole[:-1], kind="stable"):  # rarest first
        if open_end and total < size and whole[c] and not have[c]:
            open_end = take(int(c))
    while open_end and total < size:
        lacking = np.where(have < whole, (total + 1) * whole / n - have, -np.inf)
        open_end = take(int(np.argmax(lacking)))
    return np.flatnonzero(taken[group])
