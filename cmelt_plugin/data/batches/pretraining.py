"""ECGs, and their reports where a system reads texts, as mini-batches to be pre-trained on.

An item of the data set is a row number, or where the texts were chosen together with the batches a row number and the
report whose text it is shown with; all work is done in :meth:`PretrainingDataset.collater`, on whole batches, inside
the data-loader workers. Batches hold NumPy-born tensors only and depend on (seed, epoch, row numbers) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cmelt_plugin.data.batches.ecg import ECGDataset
from cmelt_plugin.data.batches.inputs import ECG_TEXT, SOURCES, Inputs, Pairs, Records
from cmelt_plugin.data.batches.length_groups import length_groups
from cmelt_plugin.data.batches.rng import epoch_generator, epoch_order, record_generators
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError


@dataclass
class PretrainingOptions:
    """How batches are made, whatever the system.

    Attributes:
        seed: of all randomness.
        train: draw anew every epoch and shuffle; otherwise the draw is fixed.
        max_text_tokens: longer texts are cut; their last token (T5's ``</s>``, BERT's ``[SEP]``) is kept.
        group_by_length: batches of texts of similar length, training only.
        standardise_probability: share of the records that training marks as ``standardised``.
    """

    seed: int = 1
    train: bool = True
    max_text_tokens: int = 256
    group_by_length: bool = False
    standardise_probability: float = 0.0


class PretrainingDataset(ECGDataset):
    """ECGs and what a system puts beside them.

    A batch holds ``id [B]``; ``net_input`` = ``ecg`` (float32 mV), ``n_samples`` and what the system's
    :class:`cmelt_plugin.data.batches.inputs.SplitInputs` add; with texts ``report_id [B]``, and outside training the unmasked
    own reports, ``report_text`` and ``report_padding_mask``. With ``standardise_probability`` training batches also hold
    ``standardised`` (bool ``[B]``): the records whose leads the task standardises before the model sees them.

    Args:
        manifest: the split; with ``tokens`` every record needs a report.
        inputs: of the system.
        tokens: token ids of the manifest's reports; None: ECGs alone.
        options: see :class:`PretrainingOptions`.
        labels: as :class:`ECGDataset`.
        sources: int8 ``[n]``, places in :data:`cmelt_plugin.data.batches.inputs.SOURCES`; records of ``ecg_echo`` need no
            report. None: all need one.

    Raises:
        DataError: a record has no report, or a report no token ids.
    """

    def __init__(
        self,
        manifest: Manifest,
        inputs: Inputs,
        tokens: TokenTable | None,
        options: PretrainingOptions,
        labels: np.ndarray | None = None,
        sources: np.ndarray | None = None,
    ):
        super().__init__(manifest, labels)
        self.tokens = tokens
        self.options = options
        self.report_ids = None if tokens is None else _report_ids(manifest, tokens, sources)
        self.sources = sources
        pairs = Pairs(manifest, tokens, self.report_ids, options.max_text_tokens, options.train, sources)
        self.inputs = inputs.open(pairs)

    def __getitem__(self, index: Any) -> Any:
        return index if np.ndim(index) else int(index)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return not self.options.train  # batches are put together anew every epoch

    def ordered_indices(self) -> np.ndarray:
        if self.options.train:
            return epoch_order(self.options.seed, self.epoch, len(self))
        return np.arange(len(self))

    @property
    def keeps_order_of_batches(self) -> bool:
        return self.options.train and self.options.group_by_length and self.tokens is not None

    def batches(self, size: int, n_ranks: int = 1) -> list[np.ndarray]:
        """See :meth:`ECGDataset.batches`; with ``group_by_length`` an item is (row, report of its text): int32 ``[B, 2]``.

        Which records are in a batch and which reports they are shown with depends on (seed, epoch) and ``size`` alone, the
        order of the batches also on ``n_ranks``.
        """
        if not self.keeps_order_of_batches or self.tokens is None:
            return super().batches(size, n_ranks)
        order = self.ordered_indices().astype(np.int32)
        rng = epoch_generator(self.options.seed, self.epoch)
        report = self.inputs.texts_of_epoch(order, size, rng)
        lengths = np.minimum(self.tokens.lengths(), self.options.max_text_tokens).astype(np.int32)[report]
        places = length_groups(lengths, report, size, n_ranks, rng, self.inputs.halves)
        items = np.stack([order[places], report[places]], axis=1)
        return [items[start : start + size] for start in range(0, len(items), size)]

    def collater(self, samples: Sequence[Any] | np.ndarray, digital: bool = False) -> dict[str, Any]:
        if len(samples) == 0:
            return {}
        items, options = np.asarray(samples, dtype=np.int64), self.options
        rows, shown = (items, None) if items.ndim == 1 else (items[:, 0], items[:, 1])
        batch = super().collater(rows, digital)
        own, source = None, None if self.sources is None else SOURCES[self.sources[rows[0]]]
        if self.report_ids is not None and source in (None, ECG_TEXT):
            own = self.report_ids[rows]
            batch["report_id"] = torch.from_numpy(own.astype(np.int64))
        generators = record_generators(options.seed, self.epoch if options.train else 0, rows)
        if options.train and options.standardise_probability > 0:
            chosen = [generator.random() < options.standardise_probability for generator in generators]
            batch["standardised"] = torch.tensor(chosen)
        self.inputs.add(batch, Records(rows, own, shown, generators, source))
        if own is not None and not options.train:
            report, padding = self.inputs.padded_texts(own)
            batch["report_text"], batch["report_padding_mask"] = torch.from_numpy(report), torch.from_numpy(padding)
        return batch

    collator = collater  # fairseq-signals' spelling


def _report_ids(manifest: Manifest, tokens: TokenTable, sources: np.ndarray | None) -> np.ndarray:
    """The report of every record; -1 where one of another source has none."""
    report_ids = manifest.report_ids()
    lacking = report_ids < 0
    without = np.flatnonzero(lacking if sources is None else lacking & (sources == SOURCES.index(ECG_TEXT)))
    if len(without):
        raise DataError(
            f"{manifest.directory}/{manifest.split}.meta.parquet, row {without[0]}: no report "
            f"({len(without)} records in all); pre-training needs a report for every record"
        )
    if report_ids.max(initial=-1) >= len(tokens):
        raise DataError(f"{manifest.directory}: reports without token ids; run preprocess/tokenizer.py again")
    return report_ids
