"""Which signals a system takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import N_SAMPLES, SAMPLE_RATE


@dataclass(frozen=True)
class SignalContract:
    """The signals a system takes: mV, neither filtered nor normalised.

    What its encoder needs beyond that it does itself, so that training, evaluation and single recordings cannot differ in it.

    Attributes:
        sample_rate: Hz.
        n_samples: samples of a whole recording; longer ones are cut, shorter ones padded with zeros at the end.
        leads: names out of :data:`cmelt_plugin.data.leads.LEADS`, in the order of the rows.
        normalisation: what the model does to each recording first; ``none``: nothing, voltages count; ``centred``: each
            lead minus its mean, voltages count.
    """

    sample_rate: float = SAMPLE_RATE
    n_samples: int = N_SAMPLES
    leads: tuple[str, ...] = LEADS
    normalisation: str = field(default="none", compare=False)  # the model's own affair

    @property
    def seconds(self) -> float:
        """Length of a whole recording."""
        return self.n_samples / self.sample_rate


STORE_SIGNALS = SignalContract()
"""What the store holds: 12 leads, 500 Hz, 10 s."""
