"""The twelve leads: from the independent ones, or from electrode potentials."""

from __future__ import annotations

import numpy as np

# The order of the leads in MIMIC-IV-ECG files; aVF stands before aVL there.
MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
INDEPENDENT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

# Independent leads from the electrodes RA, LA, LL, V1 … V6; the chest leads refer to Wilson's central terminal.
ELECTRODES_TO_INDEPENDENT = np.zeros((8, 9))
ELECTRODES_TO_INDEPENDENT[0, [1, 0]] = 1, -1
ELECTRODES_TO_INDEPENDENT[1, [2, 0]] = 1, -1
ELECTRODES_TO_INDEPENDENT[2:, :3] = -1 / 3
ELECTRODES_TO_INDEPENDENT[2:, 3:] += np.eye(6)

# Einthoven (III = II − I) and Goldberger (aVR = −(I + II)/2, aVL = I − II/2, aVF = II − I/2).
INDEPENDENT_TO_TWELVE = np.zeros((12, 8))
INDEPENDENT_TO_TWELVE[:6, :2] = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [-0.5, 1], [1, -0.5]])
INDEPENDENT_TO_TWELVE[6:, 2:] = np.eye(6)


def twelve_leads(independent: np.ndarray) -> np.ndarray:
    """``[8, T]`` in the order of ``INDEPENDENT_LEADS`` to ``[12, T]`` in the order of ``MIMIC_LEADS``, same unit."""
    return INDEPENDENT_TO_TWELVE.astype(independent.dtype) @ independent


def frontal_axis(lead_i: float, lead_avf: float) -> float:
    """Electrical axis in degrees (0 = left, +90 = down) from net areas in leads I and aVF."""
    # An augmented lead has sqrt(3)/2 of the strength of a bipolar one.
    return float(np.degrees(np.arctan2(2 / np.sqrt(3) * lead_avf, lead_i)))
