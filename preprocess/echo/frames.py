"""Frames of echo videos as encoders want them: cut to the ultrasound region, and made smaller by the area of each pixel."""

from __future__ import annotations

import numpy as np


def area_resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at another size: each new pixel is the mean of the area it covers.

    Args:
        frame: uint8 ``[H, W, C]``.
        size: height and width of the result, whatever the proportions of the frame.

    Returns:
        uint8 ``[height, width, C]``.
    """
    values = frame.astype(np.float32)
    values = np.einsum("oh,hwc->owc", _shares(frame.shape[0], size[0]), values)
    values = np.einsum("ow,hwc->hoc", _shares(frame.shape[1], size[1]), values)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _shares(old: int, new: int) -> np.ndarray:
    """``[new, old]``: share of each old pixel in each new one, rows add up to 1."""
    edges = np.arange(new + 1) * (old / new)
    begin, end = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)[None]
    covered = np.clip(np.minimum(end, pixel + 1) - np.maximum(begin, pixel), 0, None)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
