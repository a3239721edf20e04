"""Records of several sources, ECGs with reports and ECGs with echocardiograms, in mini-batches of one source each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cmelt_plugin.data.batches.inputs import ECG_ECHO, SOURCES, Inputs
from cmelt_plugin.data.batches.pretraining import PretrainingDataset, PretrainingOptions
from cmelt_plugin.data.batches.rng import epoch_generator
from cmelt_plugin.data.batches.source_order import source_batches
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable


@dataclass
class SourceOptions(PretrainingOptions):
    """How batches of several sources are made.

    Attributes:
        mix: see :func:`cmelt_plugin.data.batches.source_order.source_batches`.
        echo_upsample: how often an epoch goes through the records with echocardiograms.
    """

    mix: str = "proportional"
    echo_upsample: int = 1


def read_sources(manifest: Manifest) -> np.ndarray:
    """The source of each record, int8 ``[n]``, a place in :data:`SOURCES`.

    ``ecg_echo`` is what the column ``source`` of the meta file calls so, all else is ``ecg_text``.

    Raises:
        DataError: as :meth:`Manifest.meta`.
    """
    names = manifest.meta(["source"])["source"].to_numpy()
    return (names == ECG_ECHO).astype(np.int8)


class SourcesDataset(PretrainingDataset):
    """ECGs with what belongs to their source; a record with an echocardiogram needs no report.

    Args:
        manifest, inputs, tokens, options, labels: as :class:`PretrainingDataset`; ``tokens`` may be None where no record is of
            ``ecg_text``.
        sources: from :func:`read_sources`.
    """

    options: SourceOptions
    sources: np.ndarray

    def __init__(
        self,
        manifest: Manifest,
        inputs: Inputs,
        tokens: TokenTable | None,
        options: SourceOptions,
        labels: np.ndarray | None,
        sources: np.ndarray,
    ):
        self.exact = inputs.exact
        super().__init__(manifest, inputs, tokens, options, labels, sources)

    @property
    def keeps_order_of_batches(self) -> bool:
        return self.options.train  # runs of batches of one source stay together

    def batches(self, size: int, n_ranks: int = 1) -> list[np.ndarray]:
        """See :meth:`ECGDataset.batches`; every batch is of one source."""
        order = self.ordered_indices()
        rows = [order[self.sources[order] == source] for source in range(len(SOURCES))]
        if not self.options.train:
            return [own[start : start + size] for own in rows for start in range(0, len(own), size)]
        rng = epoch_generator(self.options.seed, self.epoch)
        echo = rows[SOURCES.index(ECG_ECHO)]
        again = [rng.permutation(echo) for _ in range(self.options.echo_upsample - 1)]
        rows[SOURCES.index(ECG_ECHO)] = np.concatenate([echo, *again])
        return source_batches(rows, size, n_ranks, rng, self.options.mix)

    def collater(self, samples: Sequence[Any] | np.ndarray, digital: bool = False) -> dict[str, Any]:
        """See :meth:`PretrainingDataset.collater`.

        With ``digital`` float32 inputs that must not be rounded travel as int32 of the same bits; :func:`restored` undoes it.
        """
        batch = super().collater(samples, digital)
        if digital and batch:
            inputs = batch["net_input"]
            inputs.update({name: inputs[name].view(torch.int32) for name in self.exact if name in inputs})
        return batch

    collator = collater  # fairseq-signals' spelling


def restored(batch: dict[str, Any]) -> dict[str, Any]:
    """A mini-batch whose float32 inputs travelled as int32, with these in float32."""
    inputs = {
        name: value.view(torch.float32) if torch.is_tensor(value) and value.dtype == torch.int32 else value
        for name, value in batch["net_input"].items()
    }
    return {**batch, "net_input": inputs}
