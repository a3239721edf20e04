"""Random numbers that depend on (seed, epoch, record) alone.

A record gets the same numbers whichever worker reads it, whatever else is in its batch, and after a resume.
"""

from __future__ import annotations

import numpy as np


def record_generators(seed: int, epoch: int, indices: np.ndarray) -> list[np.random.Generator]:
    """One generator per record: Philox keyed by (seed, epoch), its counter starting at the record's index."""
    key = np.array([seed, epoch], dtype=np.uint64)
    return [
        np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, index], dtype=np.uint64)))
        for index in np.asarray(indices)
    ]


def epoch_order(seed: int, epoch: int, n_records: int) -> np.ndarray:
    """A permutation of the records for one epoch, int64 ``[n]``."""
    return np.random.default_rng([seed, epoch]).permutation(n_records)


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """For what else is drawn once for a whole epoch; independent of its order and of the records' numbers."""
    return np.random.default_rng([seed, epoch, 1])
