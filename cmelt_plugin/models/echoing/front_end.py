"""What EchoingECG does to an ECG in mV before its encoder reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.ecg.band_pass import BandPass
from cmelt_plugin.modules.ecg.length_batch_norm import zero_padding
from cmelt_plugin.modules.ecg.normalisation import NORMALISATIONS, normalise_ecg

STANDARDISED = "standardised"
RATE = 100.0  # Hz, of standardised ECGs
NO_STATISTICS = "[[], []]"


class FrontEnd(nn.Module):
    """What is done to an ECG in mV at 500 Hz before the encoder reads it.

    Args:
        normalisation: ``standardised`` (0.5–40 Hz, 100 Hz, z-scores of each lead) or as
            :func:`cmelt_plugin.modules.ecg.normalisation.normalise_ecg`.
        lead_statistics: JSON of means and standard deviations; None: standardised ECGs stay in mV.

    Attributes:
        step: samples at 500 Hz of one that the encoder reads.
        filter: of standardised ECGs, else None.
    """

    def __init__(self, normalisation: str, lead_statistics: str | None = None):
        super().__init__()
        if normalisation not in (*NORMALISATIONS, STANDARDISED):
            raise DataError(
                f"model.normalisation must be one of {', '.join(NORMALISATIONS)} and {STANDARDISED}, not {normalisation!r}"
            )
        self.normalisation = normalisation
        self.filter = BandPass(SAMPLE_RATE, RATE) if normalisation == STANDARDISED else None
        self.step = 1 if self.filter is None else self.filter.step
        self.statistics = _parsed(lead_statistics)
        self._on_device: dict[torch.device, Tensor] = {}

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """``ecg [B, 12, T]`` mV, ``n_samples [B]`` real samples → what the encoder reads, and its real samples."""
        if self.filter is None:
            return normalise_ecg(ecg, n_samples, self.normalisation), n_samples
        ecg = self.filter(ecg, n_samples)
        n_samples = None if n_samples is None else self.filter.n_steps(n_samples)
        if self.statistics is None:
            return ecg, n_samples
        if ecg.device not in self._on_device:  # what is copied anew for every batch makes the CPU wait for a GPU
            self._on_device[ecg.device] = torch.tensor(self.statistics, device=ecg.device).unsqueeze(2)
        mean, deviation = self._on_device[ecg.device].to(ecg.dtype)
        return zero_padding((ecg - mean) / deviation, n_samples), n_samples


def _parsed(lead_statistics: str | None) -> tuple[list[float], list[float]] | None:
    """Means and deviations of the leads; None where there are none.

    Raises:
        DataError: the text is not two lists of a number for each lead, of which deviations are positive.
    """
    if lead_statistics in (None, NO_STATISTICS):
        return None
    try:
        mean, deviation = ([float(value) for value in values] for values in json.loads(str(lead_statistics)))
        whole = len(mean) == len(deviation) == len(LEADS) and all(abs(value) < 1e6 for value in mean)
        if whole and all(0 < value < 1e6 for value in deviation):
            return mean, deviation
    except (ValueError, TypeError, RecursionError):
        pass
    raise DataError(
        f"model.lead_statistics must be JSON of {len(LEADS)} means and {len(LEADS)} positive standard deviations, "
        f"not {str(lead_statistics)[:80]!r}"
    )


def lead_statistics(recordings: Iterable[tuple[Tensor, Tensor | None]]) -> str:
    """Mean and standard deviation of each lead over all samples of recordings, filtered and at 100 Hz, in mV.

    Args:
        recordings: ``ecg [B, 12, T]`` mV at 500 Hz and ``n_samples [B]`` real samples (None: all), some at a time.

    Returns:
        JSON as :class:`FrontEnd` takes it, rounded to 1 nV.

    Raises:
        DataError: a lead has one value throughout.
    """
    band_pass = BandPass(SAMPLE_RATE, RATE)
    count, total, squares = 0, torch.zeros(len(LEADS)).double(), torch.zeros(len(LEADS)).double()
    for ecg, n_samples in recordings:
        filtered = band_pass(ecg, n_samples).double()
        steps = filtered.shape[-1]
        count += steps * len(ecg) if n_samples is None else int(band_pass.n_steps(n_samples).clamp(max=steps).sum())
        total += filtered.sum((0, 2))
        squares += filtered.square().sum((0, 2))
    mean = total / max(count, 1)
    deviation = (squares / max(count, 1) - mean.square()).clamp(min=0).sqrt()
    flat = [lead for lead, value in zip(LEADS, deviation.tolist()) if value < 1e-6]
    if flat:
        raise DataError(f"lead {', '.join(flat)} is flat in all training recordings; set model.normalisation=none")
    return json.dumps([[round(value, 6) for value in values] for values in (mean.tolist(), deviation.tolist())])
