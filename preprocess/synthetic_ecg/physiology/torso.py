"""Where electrodes lie, and what each lead sees of a dipole somewhere in the heart.

Frank's coordinates: x to the patient's left, y to the feet, z to the back; centimetres from the heart's electrical centre.
Of an ordinary body a dipole in that centre gives Dower's leads exactly (Dower, Machado, Osborne, Clin Cardiol 1980): an
electrode is put where, in an infinite medium, it would see what Dower's row of it says. Hearts and electrodes that lie
elsewhere, and dipoles of walls that lie nearer to one electrode than to another, then follow from distances.
"""

from __future__ import annotations

import numpy as np

# Dower's matrix: independent leads from the Frank vector in mV.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
LIMBS = 2  # rows of DOWER whose electrodes are far away: their gains do not depend on the place of a dipole

_NEAREST = 7.0  # cm from the centre to the electrode of the strongest lead
_SOFT = 4.0  # cm: muscle is no point, so no wall comes closer to an electrode than this
_STRENGTH = np.linalg.norm(DOWER[LIMBS:], axis=1)
ELECTRODES = DOWER[LIMBS:] / _STRENGTH[:, None] * (_NEAREST * np.sqrt(_STRENGTH.max() / _STRENGTH))[:, None]
"""``[6, 3]``: V1 … V6, cm."""
_DISTANCE = np.linalg.norm(ELECTRODES, axis=1)
_GAIN = _STRENGTH * (_DISTANCE**2 + _SOFT**2) ** 1.5 / _DISTANCE


def lead_field(places: np.ndarray, electrodes: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """mV in the independent leads per mV of a dipole's vector.

    Args:
        places: ``[K, 3]`` of the dipoles, cm from the electrical centre of an ordinary heart.
        electrodes: ``[6, 3]`` of V1 … V6, cm.
        limbs: ``[2, 3]``, leads I and II.

    Returns:
        ``[K, 8, 3]``.
    """
    field = np.empty((len(places), 8, 3))
    field[:, :LIMBS] = limbs
    offset = electrodes - places[:, None]
    squared = (offset**2).sum(axis=2) + _SOFT**2
    field[:, LIMBS:] = offset * (_GAIN / squared**1.5)[..., None]
    return field
