"""Filtered and resampled ECGs, on whole batches and where these are.

What SciPy does to one recording after the other, ``sosfiltfilt`` and ``resample_poly``, with the same ends.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin.modules.ecg.decimation import decimate
from cmelt_plugin.modules.ecg.length_batch_norm import real_steps
from cmelt_plugin.modules.ecg.recursive_filter import RecursiveFilter


class BandPass(nn.Module):
    """Zero-phase Butterworth band-pass, then another sample rate: ``[B, leads, T]`` → ``[B, leads, ⌈T · to / rate⌉]``.

    A recording is continued at both ends by its own point reflection, filtered forwards and backwards, and resampled by a
    Kaiser window of β = 5 with its median beyond the ends. A padded recording becomes what it becomes cut to its real samples.

    Args:
        rate: Hz, of the recordings.
        to: Hz; must divide ``rate``.
        low, high: Hz, where the filter lets half of the power pass once (both passes: a quarter).
        order: of the low-pass prototype.
    """

    def __init__(self, rate: float, to: float, low: float = 0.5, high: float = 40.0, order: int = 4):
        super().__init__()
        ratio = Fraction(rate / to).limit_denominator(10000)
        if ratio.denominator != 1:
            raise ValueError(f"{to:g} Hz do not divide {rate:g} Hz")
        self.rate, self.order, self.band = rate, order, (low, high)
        self.step = ratio.numerator
        self.reflected = 3 * (2 * order + 1)
        self._filter: RecursiveFilter | None = None

    def n_steps(self, n_samples: Tensor) -> Tensor:
        """Samples that ``n_samples`` become."""
        return torch.div(n_samples + self.step - 1, self.step, rounding_mode="floor")

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """``ecg [B, leads, T]`` mV, ``n_samples [B]`` real samples (None: all) → mV, zero beyond the real ones."""
        ecg = ecg.to(torch.promote_types(ecg.dtype, torch.float32))
        with torch.autocast(ecg.device.type, enabled=False):
            filtered = self._filtered(ecg, n_samples)
            level = _median(filtered, n_samples)
            centred = filtered - level
            if n_samples is not None:
                centred = centred * real_steps(n_samples, centred.shape[-1])
            resampled = decimate(centred, self.step) + level
        return resampled if n_samples is None else resampled * real_steps(self.n_steps(n_samples), resampled.shape[-1])

    def _filtered(self, ecg: Tensor, n_samples: Tensor | None) -> Tensor:
        """Forwards and backwards, with a recording's own ends: ``[B, leads, T]``, of no meaning beyond the real samples."""
        length, ends, device = ecg.shape[-1], self.reflected, ecg.device
        if n_samples is None and length > ends:
            before, after = (part.flip(-1) for part in (ecg[..., 1 : ends + 1], ecg[..., -ends - 1 : -1]))
            x = torch.cat([2 * ecg[..., :1] - before, ecg, 2 * ecg[..., -1:] - after], dim=-1)
            return self._causal(self._causal(x).flip(-1)).flip(-1)[..., ends:-ends]
        last = (torch.full((ecg.shape[0],), length, device=device) if n_samples is None else n_samples.clamp(min=1))[
            :, None
        ] - 1
        places = torch.arange(-ends, length + ends, device=device)[None]
        inside = torch.minimum(places.clamp(min=0), last)
        mirrored = torch.where(places < 0, -places, 2 * last - places).clamp(0, length - 1)
        outside = ((places < 0) | (places > last)).unsqueeze(1)
        x = _at(ecg, inside)
        x = torch.where(outside, 2 * x - _at(ecg, mirrored), x)
        x = self._causal(_at(self._causal(x), (2 * ends + last - (places + ends)).clamp(min=0)))
        return _at(x, (ends + last - torch.arange(length, device=device)).clamp(min=0))

    def _causal(self, x: Tensor) -> Tensor:
        """The filter after an endless past at the first sample's level, of which it lets nothing pass."""
        if self._filter is None:
            self._filter = RecursiveFilter(_sections(self.rate, *self.band, self.order))
        return self._filter((x - x[..., :1]).flatten(0, 1)).view_as(x)


def _at(x: Tensor, places: Tensor) -> Tensor:
    """``x [B, leads, T]`` at ``places [B, N]`` of its last dimension."""
    return x.gather(2, places.unsqueeze(1).expand(*x.shape[:2], -1))


def _median(x: Tensor, n_samples: Tensor | None) -> Tensor:
    """Median over the real samples, ``[B, leads, 1]``; of an even number of values the mean of the middle two."""
    count: Any = x.shape[-1]
    if n_samples is None:
        low = x.median(dim=-1, keepdim=True).values
    else:
        count = n_samples[:, None, None]
        x = x.masked_fill(~real_steps(n_samples, x.shape[-1]), float("nan"))
        low = x.nanmedian(dim=-1, keepdim=True).values
    # PyTorch takes the lower one of the middle two; the other is the next value, unless there are more of the lower.
    larger = x > low
    following = torch.where(larger, x, torch.full_like(low, float("inf"))).amin(dim=-1, keepdim=True)
    alone = larger.sum(dim=-1, keepdim=True) * 2 == count
    return ((low + torch.where(alone, following, low)) / 2).nan_to_num()


@functools.lru_cache(maxsize=8)
def _sections(rate: float, low: float, high: float, order: int) -> Any:
    from scipy.signal import butter  # takes as long to import as torch does

    return butter(order, [low, high], "bandpass", fs=rate, output="sos")
