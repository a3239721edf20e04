"""Which parts of a recording a model is uncertain about: what hiding each part changes (occlusion; Zeiler and Fergus 2014).

The change is u(x) − u(x without the part): positive where the part adds to the uncertainty, negative where it takes from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cmelt_plugin.evaluation.variance_map.methods import FILLS, LINE, ZERO

Uncertainty = Callable[[Tensor], Tensor]
"""Recordings ``[B, L, T]`` mV of one length → their uncertainty ``[B]``."""


def windows(n_samples: int, window: int, hop: int) -> np.ndarray:
    """First samples of windows every ``hop`` samples; the last one ends where the recording does. int64 ``[W]``."""
    last = max(0, n_samples - window)
    return np.unique(np.append(np.arange(0, last + 1, hop), last))


def hidden(ecg: Tensor, leads: Tensor, start: int, stop: int, fill: str = ZERO) -> Tensor:
    """``ecg [L, T]`` with samples ``start`` to ``stop`` of some leads replaced.

    Args:
        ecg: mV.
        leads: bool ``[L]``, True = to be hidden.
        start, stop: samples.
        fill: ``zero`` (0 mV), or ``line``: straight from the sample before to the one after; at an end of the recording level
            with the one there is, of a whole recording at 0 mV.
    """
    result = ecg.clone()
    part = torch.zeros(ecg.shape[0], stop - start)
    if fill == LINE and (start > 0 or stop < ecg.shape[1]):
        before = ecg[:, start - 1] if start > 0 else ecg[:, stop]
        after = ecg[:, stop] if stop < ecg.shape[1] else before
        step = torch.arange(1, stop - start + 1) / (stop - start + 1)
        part = before[:, None] + (after - before)[:, None] * step
    result[leads, start:stop] = part[leads]
    return result


def occlusion_map(
    uncertainty: Uncertainty,
    ecg: Tensor,
    window: int = 500,
    hop: int = 125,
    fill: str = ZERO,
    per_lead: bool = True,
    batch_size: int = 16,
    progress: bool = False,
) -> np.ndarray:
    """The mean change of the windows over each sample.

    Args:
        uncertainty: of the model.
        ecg: ``[L, T]`` mV, one recording without padding, on the CPU.
        window, hop: samples; at 500 Hz by default 1.0 s every 0.25 s.
        fill: what stands in a hidden window (:func:`hidden`).
        per_lead: hide each lead by itself; False: all of them together.
        batch_size: recordings at a time.
        progress: show a bar on stderr.

    Returns:
        float32 ``[L, T]``; with all leads together its rows are the same.

    Raises:
        ValueError: no such fill, or a window or hop below one sample.
    """
    if fill not in FILLS or window < 1 or hop < 1:
        raise ValueError(f"fill {fill!r} must be one of {', '.join(FILLS)}, window {window} and hop {hop} at least 1")
    n_leads, n_samples = ecg.shape
    starts = windows(n_samples, window, hop)
    groups = torch.eye(n_leads, dtype=torch.bool) if per_lead else torch.ones(1, n_leads, dtype=torch.bool)

    def variants() -> Iterator[Tensor]:
        yield ecg
        for leads in groups:
            for start in starts.tolist():
                yield hidden(ecg, leads, start, min(start + window, n_samples), fill)

    values: list[Tensor] = []
    waiting: list[Tensor] = []
    total = 1 + len(groups) * len(starts)
    with tqdm(total=total, desc="windows", unit=" windows", disable=not progress, leave=False) as bar:
        for number, variant in enumerate(variants(), start=1):
            waiting.append(variant)
            if len(waiting) == batch_size or number == total:
                values.append(uncertainty(torch.stack(waiting)).double().cpu())
                bar.update(len(waiting))
                waiting = []
    clean, changed = torch.cat(values).split([1, total - 1])
    change = (clean - changed).reshape(len(groups), len(starts)).numpy()
    covered = (starts <= np.arange(n_samples)[:, None]) & (np.arange(n_samples)[:, None] < starts + window)
    means = change @ (covered / covered.sum(axis=1, keepdims=True)).T
    return np.broadcast_to(means, (n_leads, n_samples)).astype(np.float32)
