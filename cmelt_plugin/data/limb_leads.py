"""The relations that Einthoven and Goldberger found between the six limb leads, and what contradicts them.

Devices record two leads and compute the other four, so that errors between columns of a file show: leads exchanged, inverted or
scaled on the way. Exchanged electrodes do not.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from cmelt_plugin.data.leads import LEADS

LIMB_LEADS = LEADS[:6]
RELATIONS = ("III = II − I", "aVR = −(I + II)/2", "aVL = I − II/2", "aVF = II − I/2")
COEFFICIENTS = np.array(
    [
        [1, -1, 1, 0, 0, 0],
        [0.5, 0.5, 0, 1, 0, 0],
        [-1, 0.5, 0, 0, 1, 0],
        [0.5, -1, 0, 0, 0, 1],
    ]
)
"""Each row times the limb leads is zero, in the order of :data:`RELATIONS`; scaled so that the four errors count alike."""

RESIDUAL = 0.1
"""What the relations leave over of the limb leads. Devices round each lead for itself. Real: up to 0.09; two leads exchanged or
one inverted: at least 0.09."""


def relations_residual(gram: np.ndarray, active: np.ndarray) -> float:
    """What the relations leave over of the limb leads, as a share of their size (root mean squares).

    Args:
        gram: ``[6, 6]``, products of the leads without their means.
        active: bool ``[6]``, the leads that can be asked; relations between others are left out.

    Returns:
        0 where the relations hold, about 1 for unrelated signals, NaN where none can be asked.
    """
    asked = COEFFICIENTS if active.all() else COEFFICIENTS[~(COEFFICIENTS != 0)[:, ~active].any(axis=1)]
    if not len(asked):
        return math.nan
    involved = (asked != 0).any(axis=0)
    size = gram.diagonal()[involved].mean()
    if not 0 < size < math.inf:
        return math.nan
    return math.sqrt(max(0.0, ((asked @ gram) * asked).sum() / len(asked)) / size)


def _changes() -> tuple[list[str], np.ndarray]:
    """The inversions of one limb lead and exchanges of two: names, and the relations between leads changed so, [21, 4, 6]."""
    names, changed = [], []
    for lead, name in enumerate(LIMB_LEADS):
        names.append(f"{name} inverted")
        changed.append(np.where(np.arange(6) == lead, -1, 1) * COEFFICIENTS)
    for one, other in combinations(range(6), 2):
        order = np.arange(6)
        order[[one, other]] = other, one
        names.append(f"{LIMB_LEADS[one]} and {LIMB_LEADS[other]} exchanged")
        changed.append(COEFFICIENTS[:, order])
    return names, np.stack(changed)


_CHANGES, _CHANGED = _changes()


def describe_exchange(gram: np.ndarray, residual: float) -> str:
    """The one exchange of two limb leads, or inversion of one, with which the relations would hold, in words; "" for none.

    Args:
        gram: as :func:`relations_residual`.
        residual: what that returned.
    """
    # As relations_residual of each; none of them alters the size of the leads as a whole.
    left = ((_CHANGED @ gram) * _CHANGED).sum(axis=(1, 2)) / len(COEFFICIENTS)
    residuals = np.sqrt(np.maximum(left, 0.0) / gram.diagonal().mean())
    best, second = np.argsort(residuals, kind="stable")[:2]
    convincing = residuals[best] < min(RESIDUAL, residual / 2, residuals[second] / 2)
    return f", with {_CHANGES[best]} they would agree" if convincing else ""
