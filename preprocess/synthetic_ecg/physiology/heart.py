"""The ventricles as walls: where each segment lies, which way it faces, who supplies it, and when it is activated.

The left ventricle has the 17 segments of the American Heart Association (Cerqueira et al., Circulation 2002), the right one
six. A segment is a dipole that points outwards while the activation crosses it, from the inner to the outer surface, and a
second, weaker one while it recovers. What electrodes see of an ordinary heart, of a block, of an infarct or of a thick wall
follows.

Times of activation: after Durrer et al., Circulation 1970. They and the strengths were fitted to the median amplitudes of Q, R,
S and T in each lead of normal adults, in that order within the bounds that anatomy sets.
"""

from __future__ import annotations

import numpy as np

# Frank's axes (left, feet, back), unit vectors: base to apex; towards the septum; towards the front wall of the left ventricle.
_AXIS = np.array([0.72, 0.44, -0.54])
_AXIS = _AXIS / np.linalg.norm(_AXIS)
_SEPTAL = np.array([-0.60, 0.10, -0.79])
_SEPTAL = _SEPTAL - (_SEPTAL @ _AXIS) * _AXIS
_SEPTAL = _SEPTAL / np.linalg.norm(_SEPTAL)
_FRONT = np.cross(_SEPTAL, _AXIS)
RIGHTWARDS = _SEPTAL
"""Unit vector ``[3]`` from the left ventricle to the right one: to the right and to the front."""

# Along the axis, cm; radius, cm; tilt of the wall towards the apex, degrees; walls, from the front towards the septum.
_SIX = ("anterior", "anteroseptal", "inferoseptal", "inferior", "inferolateral", "anterolateral")
_RINGS = (
    ("basal", -2.4, 3.0, 0.0, _SIX),
    ("mid", 0.2, 3.0, 14.0, _SIX),
    ("apical", 2.6, 2.2, 42.0, ("anterior", "septal", "inferior", "lateral")),
    ("apex", 4.2, 0.0, 90.0, ("",)),
)
# Name, place and direction, each along (septal, front, axis).
_RIGHT = (
    ("right apical", (3.6, 0.3, 2.0), (0.75, 0.15, 0.65)),
    ("right front", (4.6, 1.5, 0.0), (0.85, 0.50, 0.15)),
    ("right free", (5.0, -0.5, -1.0), (1.00, -0.15, 0.00)),
    ("right inferior", (3.8, -2.6, -0.5), (0.40, -0.90, 0.10)),
    ("right outflow", (3.6, 3.2, -3.4), (0.45, 0.70, -0.55)),
    ("right base", (4.6, -1.0, -3.6), (0.70, -0.40, -0.60)),
)
# Middle of the activation, ms from the onset of QRS; strength of QRS and of T, mV.
_FITTED = {
    "basal anterior": (47, 0.41, 0.049),
    "basal anteroseptal": (38, 0.05, 0.035),
    "basal inferoseptal": (44, 0.06, 0.033),
    "basal inferior": (55, 0.45, 0.048),
    "basal inferolateral": (58, 0.41, 0.064),
    "basal anterolateral": (57, 0.52, 0.063),
    "mid anterior": (34, 0.48, 0.054),
    "mid anteroseptal": (10, 0.065, 0.037),
    "mid inferoseptal": (21, 0.09, 0.030),
    "mid inferior": (39, 0.48, 0.044),
    "mid inferolateral": (42, 0.48, 0.094),
    "mid anterolateral": (38, 0.67, 0.135),
    "apical anterior": (24, 0.35, 0.220),
    "apical septal": (20, 0.08, 0.270),
    "apical inferior": (31, 0.35, 0.050),
    "apical lateral": (31, 0.58, 0.170),
    "apex": (29, 0.37, 0.060),
    "right apical": (26, 0.11, 0.049),
    "right front": (30, 0.16, 0.028),
    "right free": (34, 0.23, 0.024),
    "right inferior": (40, 0.23, 0.040),
    "right outflow": (61, 0.17, 0.050),
    "right base": (67, 0.18, 0.046),
}


def _segments() -> tuple[list[str], np.ndarray, np.ndarray]:
    names, places, directions = [], [], []
    for ring, along, radius, tilt, walls in _RINGS:
        for number, wall in enumerate(walls):
            angle = 2 * np.pi * number / len(walls)
            sideways = np.cos(angle) * _FRONT + np.sin(angle) * _SEPTAL
            names.append(f"{ring} {wall}".strip())
            places.append(radius * sideways + along * _AXIS)
            directions.append(np.cos(np.radians(tilt)) * sideways + np.sin(np.radians(tilt)) * _AXIS)
    frame = np.array([_SEPTAL, _FRONT, _AXIS])
    for name, place, direction in _RIGHT:
        names.append(name)
        places.append(np.array(place) @ frame)
        directions.append(np.array(direction) @ frame / np.linalg.norm(direction))
    return names, np.array(places), np.array(directions)


NAMES, PLACES, DIRECTIONS = _segments()
"""23 names; cm ``[23, 3]`` from the electrical centre; unit vectors ``[23, 3]`` outwards."""
TIMES, STRENGTHS, T_STRENGTHS = np.array([_FITTED[name] for name in NAMES]).T * np.array([[1e-3], [1.0], [1.0]])
"""``[23]`` each: seconds from the onset of QRS, mV, mV."""
LEFT = np.array(["right" not in name for name in NAMES])
SEPTUM = np.array(["sept" in name for name in NAMES])
WIDTH = 0.0072  # standard deviation of the time in which the activation crosses a wall, s
REACH = 2.3  # so many of them from the middle a wall begins and ends to show
DURATION = float(TIMES.max() - TIMES.min() + 2 * REACH * WIDTH)
"""Of an ordinary QRS complex, s."""

# Walls that an infarct or an ischaemia of each territory takes, 0 to 1; the first name that a segment's name begins with
# counts.
TERRITORIES: dict[str, dict[str, float]] = {
    "anteroseptal": {
        **{"mid anteroseptal": 1.0, "apical septal": 1.0, "basal anteroseptal": 0.8, "apical anterior": 0.8},
        **{"mid anterior": 0.6, "right front": 0.4, "apex": 0.4, "basal anterior": 0.2},
    },
    "anterior": {
        **{"apical anterior": 1.0, "mid anterior": 1.0, "apex": 0.5, "mid anteroseptal": 1.0, "apical septal": 1.0},
        **{"basal anteroseptal": 0.5, "basal anterior": 0.4, "apical lateral": 0.15, "right front": 0.4},
    },
    "anterolateral": {
        **{"apical anterior": 0.9, "mid anterior": 0.8, "mid anterolateral": 1.0, "basal anterolateral": 0.9},
        **{"apical lateral": 1.0, "apex": 0.9, "basal anterior": 0.7, "apical septal": 0.4},
    },
    "lateral": {
        **{"mid anterolateral": 1.0, "basal anterolateral": 1.0, "mid inferolateral": 0.6, "apical lateral": 0.9},
        **{"basal inferolateral": 0.4},
    },
    "inferior": {
        **{"basal inferior": 1.0, "mid inferior": 1.0, "apical inferior": 0.9, "mid inferoseptal": 0.5},
        **{"basal inferoseptal": 0.5, "right inferior": 0.3},
    },
    "inferolateral": {
        **{"basal inferior": 0.9, "mid inferior": 1.0, "apical inferior": 1.0, "mid inferolateral": 0.9},
        **{"basal inferolateral": 0.6, "apical lateral": 0.9, "mid inferoseptal": 0.3},
    },
    "posterior": {"basal inferolateral": 1.0, "mid inferolateral": 0.9, "basal inferior": 0.5, "basal anterolateral": 0.3},
    "inferoposterior": {
        **{"basal inferior": 1.0, "mid inferior": 1.0, "apical inferior": 0.8, "basal inferolateral": 1.0},
        **{"mid inferolateral": 0.8, "mid inferoseptal": 0.4},
    },
    "inferoposterolateral": {
        **{"basal inferior": 1.0, "mid inferior": 1.0, "apical inferior": 0.9, "basal inferolateral": 1.0},
        **{"mid inferolateral": 1.0, "apical lateral": 0.9, "basal anterolateral": 0.4},
    },
    "diffuse": {name: 0.6 if "sept" in name else 1.0 for name in _FITTED if "right" not in name},
}
TERRITORY_LEADS = {
    "anteroseptal": ("V1", "V2", "V3"),
    "anterior": ("V2", "V3", "V4"),
    "anterolateral": ("I", "aVL", "V3", "V4", "V5", "V6"),
    "lateral": ("I", "aVL", "V5", "V6"),
    "inferior": ("II", "III", "aVF"),
    "inferolateral": ("II", "III", "aVF", "V5", "V6"),
    "posterior": ("V1", "V2"),
    "inferoposterior": ("II", "III", "aVF"),
    "inferoposterolateral": ("II", "III", "aVF", "V6"),
    "diffuse": ("I", "II", "V4", "V5", "V6"),
}


def share_of(territory: str) -> np.ndarray:
    """``[23]``, how much of each segment belongs to a territory."""
    return np.array([TERRITORIES[territory].get(name, 0.0) for name in NAMES])


def segments(*words: str) -> np.ndarray:
    """bool ``[23]``: segments whose names contain one of ``words``."""
    return np.array([any(word in name for word in words) for name in NAMES])


def from_focus(focus: np.ndarray, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Activation that spreads from a place in the muscle, without the bundles: seconds ``[23]`` and directions ``[23, 3]``.

    Args:
        focus: cm ``[3]``.
        speed: cm/s; around the hollow of the ventricle the way is longer than the straight line, hence half of a fibre's.
    """
    way = PLACES - focus
    distance = np.linalg.norm(way, axis=1)
    return 0.006 + distance / speed, way / np.maximum(distance, 1.0)[:, None]
