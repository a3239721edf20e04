"""Splits that keep all records of a subject together and do not depend on the order or number of the records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

SPLITS = ("train", "valid", "test")
DEFAULT_FRACTIONS = (0.95, 0.025, 0.025)


def split_of(subject_id: str, seed: int, fractions: Sequence[float] = DEFAULT_FRACTIONS) -> str:
    """Split of one subject: where sha256("SEED:SUBJECT"), read as a number in [0, 1), falls among the fractions.

    A subject keeps its split when other subjects are added or rejected.
    """
    digest = hashlib.sha256(f"{seed}:{subject_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    bounds = np.cumsum(fractions[:-1])
    return SPLITS[int(np.searchsorted(bounds, position, side="right"))]


def assign_splits(subject_ids: Iterable[str], seed: int, fractions: Sequence[float] = DEFAULT_FRACTIONS) -> list[str]:
    """:func:`split_of` for one subject per record, computed once per subject."""
    known: dict[str, str] = {}
    return [known.get(s) or known.setdefault(s, split_of(s, seed, fractions)) for s in subject_ids]
