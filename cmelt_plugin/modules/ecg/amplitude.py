"""How large the deflections of each lead are, as an embedding: what normalisation of a recording takes away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WINDOW = 750
"""Samples at 500 Hz, 1.5 s: long enough for a beat at 40 per minute, short enough to follow a wandering baseline."""
FLOOR, MIDDLE = 0.01, 0.25  # mV: smaller amplitudes are noise, and have the logarithm of this; what has the logarithm 0
STATISTICS = 3


class AmplitudeEmbedding(nn.Module):
    """Logarithms of how high, how low and how much each lead swings, projected to the width of tokens.

    There is no bias, and a lead that is flat, hidden or missing has the numbers 0: it adds nothing.

    Args:
        n_leads: rows of an ECG.
        dim: width of the tokens.
        window: samples of which highest and lowest are taken, before the mean over windows.
    """

    def __init__(self, n_leads: int, dim: int, window: int = WINDOW):
        super().__init__()
        self.window = window
        self.proj = nn.Linear(STATISTICS * n_leads, dim, bias=False)

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """``ecg [B, leads, T]`` mV, ``n_samples [B]`` real samples (None: all) → ``[B, dim]``."""
        return self.proj(log_amplitudes(ecg, n_samples, self.window).flatten(1).to(self.proj.weight.dtype))


def log_amplitudes(ecg: Tensor, n_samples: Tensor | None = None, window: int = WINDOW) -> Tensor:
    """Of each lead the logarithms of highest, lowest and standard deviation about the mean, in windows: ``[B, leads, 3]``.

    The logarithms, in float32, are averaged over the whole windows in which the lead is not flat, so that one spike in ten
    seconds moves them little; where there is none they are 0. Of a record shorter than a window that part is one.

    Args:
        ecg: ``[B, leads, T]`` mV.
        n_samples: ``[B]`` real samples per record; None: none is padded.
        window: samples.
    """
    window = min(window, ecg.shape[-1])
    n_windows = ecg.shape[-1] // window
    x = ecg[..., : n_windows * window].unflatten(-1, (n_windows, window)).float()
    if n_samples is None:
        high, low, mean, deviation = x.amax(-1), x.amin(-1), x.mean(-1), x.std(-1, correction=0)
        used = high > low
    else:
        places = torch.arange(n_windows * window, device=ecg.device).unflatten(0, (n_windows, window))
        real = (places < n_samples.view(-1, 1, 1)).unsqueeze(1)  # [B, 1, windows, samples]
        count = real.sum(-1)
        mean = (x * real).sum(-1) / count.clamp(min=1)
        deviation = (((x - mean.unsqueeze(-1)) * real).square().sum(-1) / count.clamp(min=1)).sqrt()
        high, low = x.masked_fill(~real, -torch.inf).amax(-1), x.masked_fill(~real, torch.inf).amin(-1)
        first = torch.arange(n_windows, device=ecg.device) == 0
        used = (high > low) & ((count == window) | first)
    swings = torch.stack([high - mean, mean - low, deviation], dim=-1)
    logs = ((swings.masked_fill(~used.unsqueeze(-1), MIDDLE) + FLOOR) / (MIDDLE + FLOOR)).log()
    return logs.sum(2) / used.sum(2).clamp(min=1).unsqueeze(-1)
