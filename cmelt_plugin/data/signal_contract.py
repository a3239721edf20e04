"""What a model's encoder reads, in words: for model cards, and for whoever feeds it recordings of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import N_SAMPLES, SAMPLE_RATE


class SignalContract(NamedTuple):
    """The ECGs a model was trained on.

    Every model of this package takes ``[B, 12, T]`` float32 mV at 500 Hz with the leads in the order of
    :data:`cmelt_plugin.data.leads.LEADS`, as stores hold them and :func:`cmelt_plugin.data.signals.prepare_ecg` makes
    them. What its encoder needs beyond that, such as ``normalisation``, it does itself, so that training, evaluation and
    single recordings cannot differ in it.

    Attributes:
        sample_rate: Hz.
        n_samples: of a whole recording; shorter ones are padded with zeros at the end.
        leads: their order.
        unit: of the numbers that are given.
        filter: what was done to the recordings' spectrum; ``none``: nothing beyond resampling.
        normalisation: what the model does to each record first; ``none``: nothing, voltages count.
    """

    sample_rate: float = SAMPLE_RATE
    n_samples: int = N_SAMPLES
    leads: Sequence[str] = LEADS
    unit: str = "mV"
    filter: str = "none"
    normalisation: str = "none"

    @property
    def seconds(self) -> float:
        """Length of a whole recording."""
        return self.n_samples / self.sample_rate
