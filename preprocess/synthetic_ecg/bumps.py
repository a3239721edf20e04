"""Flat-topped Gaussian bumps of the heart vector, of which every beat is a sum.

Time 0 of a beat is the onset of its QRS complex; strengths are in mV of the Frank vector (x left, y feet, z back).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ATRIAL, QRS, ST, T = range(4)


@dataclass(frozen=True)
class Bumps:
    """Components of a beat, arrays ``[K]``: times in s, ``vector`` ``[K, 3]`` in mV, ``wave`` one of ATRIAL … T."""

    centre: np.ndarray
    plateau: np.ndarray  # half of the flat top
    before: np.ndarray  # standard deviation ahead of the top
    after: np.ndarray
    vector: np.ndarray
    wave: np.ndarray

    @classmethod
    def of(cls, rows: list) -> Bumps:
        """From rows (wave, centre, plateau, before, after, vector)."""
        columns = list(zip(*rows))
        centre, plateau, before, after, vector = (np.array(column, dtype=float) for column in columns[1:6])
        return cls(centre, plateau, before, after, vector, np.array(columns[0]))

    def values(self, time: np.ndarray) -> np.ndarray:
        """``[..., K, len(time)]`` for centres ``[..., K]``; each component has height 1."""
        offset = time - self.centre[..., None]
        distance = np.maximum(np.abs(offset) - self.plateau[..., None], 0)
        return np.exp(-0.5 * (distance / np.where(offset < 0, self.before[..., None], self.after[..., None])) ** 2)
