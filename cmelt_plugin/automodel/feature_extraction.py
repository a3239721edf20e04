"""Recordings as the model of a folder takes them. Imported there, by transformers, and nowhere here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from transformers import BatchFeature, FeatureExtractionMixin

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.prepared_ecg import hide_leads, prepare_arrays, warned
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.data.store.record_store import N_SAMPLES, SAMPLE_RATE


class ECGFeatureExtractor(FeatureExtractionMixin):
    """``[.., leads, samples]`` in mV of any rate and lead order → what the model reads; what is no such signal is refused.

    Filters and normalisation are the model's own.

    Args:
        leads: of the model, in its order.
        leads_read: those of them that it was trained on; the others are zero.
        sample_rate: Hz, of the model.
        n_samples: of the model; longer recordings are cut, shorter ones padded.
    """

    model_input_names = ["ecg", "n_samples"]

    def __init__(
        self,
        leads: Sequence[str] = LEADS,
        leads_read: Sequence[str] = LEADS,
        sample_rate: float = SAMPLE_RATE,
        n_samples: int = N_SAMPLES,
        **more: Any,
    ) -> None:
        super().__init__(**more)  # type: ignore[no-untyped-call]
        self.leads, self.leads_read = list(leads), list(leads_read)
        self.sample_rate, self.n_samples = sample_rate, n_samples

    def __call__(
        self,
        signal: np.ndarray | Tensor,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        crop: str = "start",
        missing_leads: str = "refuse",
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """``ecg [B, leads, samples]`` and ``n_samples [B]``, real samples of each.

        Args:
            signal: ``[.., leads, samples]`` in mV.
            sample_rate: Hz, of ``signal``.
            leads: names of its rows, in any order.
            crop: ``start`` or ``centre``: which part of a longer recording is used.
            missing_leads: ``refuse``, or take them as ``zero``.
            return_tensors: ``pt``.

        Raises:
            DataError: the recording cannot be used.
        """
        contract = SignalContract(self.sample_rate, self.n_samples, tuple(self.leads))
        prepared = prepare_arrays(signal, sample_rate, leads, crop, missing_leads, self.leads_read, contract)
        hide_leads(prepared, self.leads_read, contract)
        warned(prepared)
        return BatchFeature({"ecg": prepared.ecg, "n_samples": prepared.n_samples}, tensor_type=return_tensors)
