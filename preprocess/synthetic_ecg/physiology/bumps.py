"""Flat-topped Gaussian bumps, of which every wave is a sum; each with what the leads see of it.

Time 0 is the onset of the complex, or of the P wave for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

ATRIAL, QRS, ST, T, U = range(5)


@dataclass(frozen=True)
class Bumps:
    """Components of a beat, arrays ``[K]``: times in s; ``leads`` ``[K, 8]`` mV in the independent leads; ``wave`` one of
    ATRIAL … U.

    ``swung`` ``[K, 8]`` is what is added to ``leads`` when the heart hangs lower at the end of a deep breath.
    """

    centre: np.ndarray
    plateau: np.ndarray  # half of the flat top
    before: np.ndarray  # standard deviation ahead of the top
    after: np.ndarray
    leads: np.ndarray
    swung: np.ndarray
    wave: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Bumps]) -> Bumps:
        """All components of several."""
        names = ("centre", "plateau", "before", "after", "leads", "swung", "wave")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def chosen(self, rows: np.ndarray) -> Bumps:
        """Those of ``rows`` (bool or index ``[K]``)."""
        return Bumps(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def without(self, wave: int) -> Bumps:
        """The same with nothing to see of a wave."""
        seen = np.where(self.wave == wave, 0.0, 1.0)[:, None]
        return replace(self, leads=self.leads * seen, swung=self.swung * seen)

    def values(self, time: np.ndarray, stretch: np.ndarray | float = 1.0) -> np.ndarray:
        """``[..., K, len(time)]`` for factors ``[..., K]`` by which components come later and last longer; each has height
        1."""
        centre = self.centre * stretch
        offset = time - centre[..., None]
        distance = np.maximum(np.abs(offset) - (self.plateau * stretch)[..., None], 0)
        before = np.broadcast_to(self.before * stretch, centre.shape)[..., None]
        after = np.broadcast_to(self.after * stretch, centre.shape)[..., None]
        return np.exp(-0.5 * (distance / np.where(offset < 0, before, after)) ** 2)
