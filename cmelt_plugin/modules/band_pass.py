"""Filtered and resampled ECGs, on whole batches and where these are.

What SciPy does to one recording after the other, ``sosfiltfilt`` and ``resample_poly``, with the same ends.
"""

from __future__ import annotations

import functools
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.modules.length_batch_norm import real_steps


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
        self._responses: dict[tuple[int, torch.device], Tensor] = {}

    def n_steps(self, n_samples: Tensor) -> Tensor:
        """Samples that ``n_samples`` become."""
        return torch.div(n_samples + self.step - 1, self.step, rounding_mode="floor")

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """``ecg [B, leads, T]`` mV, ``n_samples [B]`` real samples (None: all) → mV, zero beyond the real ones."""
        ecg = ecg.to(torch.promote_types(ecg.dtype, torch.float32))
        length = ecg.shape[-1]
        n_real = torch.full((len(ecg),), length, device=ecg.device) if n_samples is None else n_samples
        filtered = self._filtered(ecg, n_real)
        padding = None if n_samples is None else ~real_steps(n_samples, length)
        level = _median(filtered, padding)
        centred = filtered - level
        if padding is not None:
            centred = centred.masked_fill(padding, 0.0)
        window = _low_pass(self.step).to(centred)
        with torch.autocast(ecg.device.type, enabled=False):
            rows = centred.flatten(0, 1).unsqueeze(1)
            resampled = F.conv1d(rows, window[None, None], stride=self.step, padding=len(window) // 2)
        resampled = resampled.view(*ecg.shape[:2], -1) + level
        return resampled if n_samples is None else resampled * real_steps(self.n_steps(n_samples), resampled.shape[-1])

    def _filtered(self, ecg: Tensor, n_real: Tensor) -> Tensor:
        """Forwards and backwards, with a recording's own ends: ``[B, leads, T]``, of no meaning beyond ``n_real [B]``."""
        length, ends = ecg.shape[-1], self.reflected
        last = (n_real - 1).clamp(min=0)[:, None]
        places = torch.arange(-ends, length + ends, device=ecg.device)[None]
        inside = torch.minimum(places.clamp(min=0), last)
        mirrored = torch.where(places < 0, -places, 2 * last - places).clamp(0, length - 1)
        outside = (places < 0) | (places > last)
        x = torch.where(outside.unsqueeze(1), 2 * _at(ecg, inside) - _at(ecg, mirrored), _at(ecg, inside))
        backwards = (2 * ends + last - torch.arange(x.shape[-1], device=ecg.device)).clamp(min=0)
        x = self._causal(_at(self._causal(x), backwards))
        return _at(x, (ends + last - torch.arange(length, device=ecg.device)).clamp(min=0))

    def _causal(self, x: Tensor) -> Tensor:
        """The filter after an endless past at the first sample's level, of which it lets nothing pass."""
        length = x.shape[-1]
        response = self._response(length, x.device)
        x = x - x[..., :1]
        n = 2 * (response.shape[-1] - 1)
        return torch.fft.irfft(torch.fft.rfft(x, n) * response.to(torch.promote_types(x.dtype, torch.complex64)), n)[
            ..., :length
        ]

    def _response(self, length: int, device: torch.device) -> Tensor:
        """Spectrum of the first ``length`` samples of the impulse response, complex128, without wrap-around."""
        key = (length, device)
        if key not in self._responses:
            impulse = _impulse_response(length, self.rate, *self.band, self.order)
            n = 1 << (2 * length - 1).bit_length()
            self._responses[key] = torch.fft.rfft(impulse, n).to(device)
        return self._responses[key]


def _at(x: Tensor, places: Tensor) -> Tensor:
    """``x [B, leads, T]`` at ``places`` ``[B, N]`` or ``[1, N]`` of its last dimension."""
    return x.gather(2, places.unsqueeze(1).expand(*x.shape[:2], -1))


def _median(x: Tensor, padding: Tensor | None) -> Tensor:
    """Median over the last dimension, ``[B, leads, 1]``; of an even number of values the mean of the middle two."""
    if padding is not None:
        x = x.masked_fill(padding, float("nan"))
    low, high = x.nanmedian(dim=-1, keepdim=True).values, -(-x).nanmedian(dim=-1, keepdim=True).values
    return ((low + high) / 2).nan_to_num()


@functools.lru_cache(maxsize=8)
def _impulse_response(length: int, rate: float, low: float, high: float, order: int) -> Tensor:
    from scipy.signal import butter, sosfilt  # takes as long to import as torch does

    impulse = torch.zeros(length, dtype=torch.float64)
    impulse[0] = 1.0
    return torch.from_numpy(sosfilt(butter(order, [low, high], "bandpass", fs=rate, output="sos"), impulse.numpy()))


@functools.lru_cache(maxsize=8)
def _low_pass(factor: int) -> Tensor:
    """The filter that SciPy's ``resample_poly`` designs for one sample out of ``factor``."""
    from scipy.signal import firwin

    return torch.from_numpy(firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0)))
