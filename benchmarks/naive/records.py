"""One MATLAB file per recording, opened when the record is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat, savemat


def write_mat_files(folder: Path, ecg: np.ndarray) -> list[Path]:
    """Write each of ``[n, 12, 5000]`` mV as a file of float32, the smaller and faster of the usual types."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:06d}.mat" for i in range(len(ecg))]
    for path, record in zip(paths, ecg):
        content = {"feats": record.astype(np.float32), "curr_sample_rate": 500, "curr_sample_size": record.shape[1]}
        savemat(path, content)
    return paths


def read_mat_files(paths: Sequence[Path]) -> np.ndarray:
    """Read recordings one by one and stack them: float32 ``[B, 12, 5000]`` mV."""
    return np.stack([np.asarray(loadmat(path)["feats"], dtype=np.float32) for path in paths])
