"""The Gaussian of an echocardiogram: mean and variance of its frames' embeddings, and of several videos together.

The mean is brought to unit length and the variance is not, as in EchoingECG (Yuan et al. 2025, Fig. 1). For frames of unit
length, the variances and the squared length of the mean before that (``raw_norm``) add up to 1.
"""

from __future__ import annotations

import numpy as np

EPS = 1e-8
"""What is added to variances before the logarithm."""

Gaussian = tuple[np.ndarray, np.ndarray, float]
"""Mean ``[D]`` of unit length and log-variance ``[D]``, float32, and the length of the mean before it was made 1."""


def teacher_gaussian(frames: np.ndarray, normalise: bool = True, eps: float = EPS) -> Gaussian:
    """The Gaussian of the frames of one echocardiogram.

    Args:
        frames: embeddings ``[F, D]``, F ≥ 1.
        normalise: bring each frame to unit length first.
        eps: added to variances (biased, over F) before the logarithm.

    Returns:
        ``mean [D]``, of unit length (zeros where frames cancel out), ``log_variance [D]``, float32; ``raw_norm``.

    Raises:
        ValueError: no frames, or one that is not finite or, with ``normalise``, zero.
    """
    frames = np.asarray(frames, dtype=np.float64)
    if frames.ndim != 2 or not frames.size:
        raise ValueError(f"frames have shape {frames.shape}; expected [frames, dim], at least one of each")
    if not np.isfinite(frames).all():
        raise ValueError("a frame's embedding is NaN or infinite")
    if normalise:
        lengths = np.linalg.norm(frames, axis=1, keepdims=True)
        if not lengths.all():
            raise ValueError("a frame's embedding is zero")
        frames = frames / lengths
    return _gaussian(frames.mean(axis=0), frames.var(axis=0), eps)


def merge_videos(
    means: np.ndarray, log_variances: np.ndarray, raw_norms: np.ndarray, n_frames: np.ndarray, eps: float = EPS
) -> Gaussian:
    """The Gaussian of all frames of several videos, from the Gaussians of each (law of total variance).

    Args:
        means: ``[V, D]``, of unit length.
        log_variances: ``[V, D]``.
        raw_norms: ``[V]``.
        n_frames: ``[V]``, ≥ 1.
        eps: as the videos' Gaussians were made with.

    Returns:
        As :func:`teacher_gaussian` would of the videos' frames together.
    """
    raw = np.asarray(means, np.float64) * np.asarray(raw_norms, np.float64)[:, None]
    variances = np.maximum(np.exp(np.asarray(log_variances, np.float64)) - eps, 0)
    weights = np.asarray(n_frames, np.float64)
    mean = np.average(raw, axis=0, weights=weights)
    return _gaussian(mean, np.average(variances + np.square(raw - mean), axis=0, weights=weights), eps)


def _gaussian(raw_mean: np.ndarray, variance: np.ndarray, eps: float) -> Gaussian:
    raw_norm = float(np.linalg.norm(raw_mean))
    mean = raw_mean / raw_norm if raw_norm else raw_mean
    return mean.astype(np.float32), np.log(variance + eps).astype(np.float32), raw_norm
