"""Six limb leads from two, by the definitions of the leads."""

from __future__ import annotations

import numpy as np


def limb_leads(lead_i: np.ndarray, lead_ii: np.ndarray) -> np.ndarray:
    """``[.., 6, T]``: the six leads of electrodes RA = 0, LA = I, LL = II, by their definitions from potentials."""
    right, left, foot = np.zeros_like(lead_i), lead_i, lead_ii
    return np.stack(
        [
            left - right,
            foot - right,
            foot - left,
            right - (left + foot) / 2,
            left - (right + foot) / 2,
            foot - (right + left) / 2,
        ],
        axis=-2,
    )
