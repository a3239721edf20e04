"""Paired ECGs and reports as mini-batches.

An item of the data set is a row number, or where the texts were chosen together with the batches a row number and the
report whose text it is shown with; all work is done in :meth:`ECGTextDataset.collater`, on whole batches, inside
the data-loader workers. Batches hold NumPy-born tensors only and depend on (seed, epoch, row numbers) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cmelt_plugin import host
from cmelt_plugin.data.batches.augmentation import random_lead_mask
from cmelt_plugin.data.batches.length_groups import length_groups, swapped_places
from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.batches.rng import epoch_generator, epoch_order, record_generators
from cmelt_plugin.data.batches.worker_memory import empty_batch
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.data.text.word_masking import WordMasker
from cmelt_plugin.errors import DataError


@dataclass
class PairingOptions:
    """How pairs are made into training examples.

    Attributes:
        seed: of all randomness.
        train: draw anew every epoch and shuffle; otherwise the draw is fixed and leads stay whole.
        lead_mask_probability: random lead masking, training only.
        mlm_probability: share of ordinary tokens masked.
        n_ecg_tokens: tokens of a record in the ECG encoder, for the MEM noise.
        max_text_tokens: longer texts are cut; their last token (T5's ``</s>``, BERT's ``[SEP]``) is kept.
        group_by_length: batches of texts of similar length, training only.
    """

    seed: int = 1
    train: bool = True
    lead_mask_probability: float = 0.5
    mlm_probability: float = 0.25
    n_ecg_tokens: int = 312
    max_text_tokens: int = 256
    group_by_length: bool = False


class ECGDataset(host.Dataset):
    """ECGs of a manifest, without texts; base of the paired data set.

    Args:
        manifest: the split.
        labels: float ``[n, classes]`` added to each batch, NaN = unknown; None: no labels.
    """

    def __init__(self, manifest: Manifest, labels: np.ndarray | None = None):
        super().__init__()
        self.manifest = manifest
        self.store = RecordStore(manifest.store_root)
        self.labels = labels
        self.epoch = 1

    def __getitem__(self, index: int) -> int:
        return int(index)

    def __getitems__(self, indices: Sequence[int]) -> list[int]:
        return list(indices)

    def __len__(self) -> int:
        return len(self.manifest)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return True

    @property
    def sizes(self) -> np.ndarray:
        return self.manifest.n_samples

    def num_tokens(self, index: int) -> int:
        return int(self.manifest.n_samples[index])

    def size(self, index: int) -> int:
        return int(self.manifest.n_samples[index])

    def ordered_indices(self) -> np.ndarray:
        return np.arange(len(self))

    @property
    def keeps_order_of_batches(self) -> bool:
        """Whether the host must not shuffle :meth:`batches`."""
        return False

    def batches(self, size: int, n_ranks: int = 1) -> list[np.ndarray]:
        """Items of each batch of this epoch, the last of which may have fewer; the host deals them to the ranks in turn."""
        order = self.ordered_indices()
        return [order[start : start + size] for start in range(0, len(order), size)]

    def read_ecg(self, rows: np.ndarray, steps: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``[B, 12, 5000]`` float32 mV, or int16 as stored, and real samples ``[B]`` where any record is padded, else None."""
        ecg = empty_batch((len(rows), *ROW_SHAPE), torch.int16 if steps else torch.float32)
        read = self.store.read_steps if steps else self.store.read
        read(self.manifest.shard[rows], self.manifest.row[rows], out=ecg.numpy())
        n_samples = self.manifest.n_samples[rows]
        padded = (n_samples < ecg.shape[-1]).any()
        return ecg, torch.from_numpy(n_samples.astype(np.int64)) if padded else None

    def collater(self, samples: Sequence[int], steps: bool = False) -> dict[str, Any]:
        """Row numbers → mini-batch; see :class:`ECGTextDataset`.

        With ``steps``, as the tasks want it, the ECGs are int16 as stored, half the bytes on the way to a GPU;
        :func:`cmelt_plugin.data.millivolts.batch_in_mv` turns them into mV there, by ``mv_per_step`` of the batch.
        """
        if len(samples) == 0:
            return {}
        rows = np.asarray(samples, dtype=np.int64)
        ecg, n_samples = self.read_ecg(rows, steps)
        batch: dict[str, Any] = {
            "id": torch.from_numpy(rows),
            "net_input": {"ecg": ecg, "n_samples": n_samples},
            "nsentences": len(rows),
            "nsignals": len(rows),
            "ntokens": len(rows),
        }
        if steps:
            batch["mv_per_step"] = self.store.mv_per_step
        if self.labels is not None:
            batch["labels"] = torch.from_numpy(np.asarray(self.labels[rows], dtype=np.float32))
        return batch

    collator = collater  # fairseq-signals' spelling


class ECGTextDataset(ECGDataset):
    """ECGs and their reports, half of each batch with a negative report in place of its own.

    A batch holds ``id [B]``; ``net_input`` = ``ecg`` (float32 mV), ``lead_mask`` (bool ``[B, 12]``, True = to be zeroed; None
    outside training), ``n_samples``, ``text`` (masked ids ``[B, L]``), ``text_padding_mask``, ``mlm_mask``, ``mem_noise``
    (int64 ``[B, N]``); ``mlm_target``; ``aligned`` (bool ``[B]``); ``report_id`` and ``text_report_id`` ``[B]``; and outside
    training the unmasked own reports, ``report_text`` and ``report_padding_mask``.

    Args:
        manifest: the split; every record needs a report.
        tokens: token ids of the manifest's reports.
        options: see :class:`PairingOptions`.
        negatives: table of the split (N3S); None: a random other report of the split.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokens: TokenTable,
        options: PairingOptions,
        negatives: NegativeTable | None = None,
        labels: np.ndarray | None = None,
    ):
        super().__init__(manifest, labels)
        self.tokens = tokens
        self.options = options
        self.negatives = negatives
        self.report_ids = manifest.report_ids()
        without = np.flatnonzero(self.report_ids < 0)
        if len(without):
            raise DataError(
                f"{manifest.directory}/{manifest.split}.meta.parquet, row {without[0]}: no report "
                f"({len(without)} records in all); pre-training needs a report for every record"
            )
        if self.report_ids.max(initial=-1) >= len(tokens):
            raise DataError(f"{manifest.directory}: reports without token ids; run preprocess/tokenizer.py again")
        if negatives is None and (self.report_ids == self.report_ids[:1]).all():
            raise DataError(f"{manifest.directory}/{manifest.split}.tsv: one report only, there is nothing to swap it for")
        # How many records have report 0, 0 or 1, …; random negatives are drawn by it.
        self.report_ends = np.cumsum(np.bincount(self.report_ids)) if negatives is None else None
        self.mask_words = WordMasker(
            options.mlm_probability, tokens.info["mask_id"], tokens.info["vocab_size"], tokens.info["special_ids"]
        )

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
        return self.options.train and self.options.group_by_length

    def batches(self, size: int, n_ranks: int = 1) -> list[np.ndarray]:
        """See :meth:`ECGDataset.batches`; with ``group_by_length`` an item is (row, report of its text): int32 ``[B, 2]``.

        Which records are in a batch and which reports they are shown with depends on (seed, epoch) and ``size`` alone, the
        order of the batches also on ``n_ranks``.
        """
        if not self.keeps_order_of_batches:
            return super().batches(size, n_ranks)
        order = self.ordered_indices().astype(np.int32)
        rng = epoch_generator(self.options.seed, self.epoch)
        report = self.report_ids[order].astype(np.int32)
        swapped = swapped_places(len(order), size)
        report[swapped] = self.draw_negatives(report[swapped], rng.random(np.count_nonzero(swapped)))
        lengths = np.minimum(self.tokens.lengths(), self.options.max_text_tokens).astype(np.int32)[report]
        places = length_groups(lengths, report, size, n_ranks, rng)
        items = np.stack([order[places], report[places]], axis=1)
        return [items[start : start + size] for start in range(0, len(items), size)]

    def draw_negatives(self, report_ids: np.ndarray, u: np.ndarray) -> np.ndarray:
        """A negative report for each of ``report_ids``, chosen by ``u`` in [0, 1).

        Without a table: that of a record drawn uniformly from those with another report. Half of the digits of ``u`` draw
        from all records; where they hit the report itself or a copy, the rest draws again, from the others alone.
        """
        if self.negatives is not None:
            return self.negatives.draw(report_ids, u)
        place = u * len(self)
        row = place.astype(np.int64)
        drawn = self.report_ids[row]
        same = np.flatnonzero(drawn == report_ids)
        # Records sorted by report: those of report r stand at ends[r] - copies … ends[r] - 1 and are stepped over.
        ends, own = self.report_ends, report_ids[same]
        copies = ends[own] - np.where(own > 0, ends[own - 1], 0)
        rank = ((place[same] - row[same]) * (len(self) - copies)).astype(np.int64)
        rank += np.where(rank >= ends[own] - copies, copies, 0)
        drawn[same] = np.searchsorted(ends, rank, side="right")
        return drawn

    def pad_texts(self, report_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 ``[B, L]`` and padding bool ``[B, L]`` of the given reports."""
        limit = self.options.max_text_tokens
        texts = [self.tokens[report] for report in report_ids]
        texts = [text if len(text) <= limit else np.append(text[: limit - 1], text[-1]) for text in texts]
        lengths = np.array([len(text) for text in texts])
        padding = np.arange(max(lengths.max(), 1))[None, :] >= lengths[:, None]
        ids = np.full(padding.shape, self.tokens.info["pad_id"], dtype=np.int64)
        ids[~padding] = np.concatenate(texts)
        return ids, padding

    def collater(self, samples: Sequence[Any], steps: bool = False) -> dict[str, Any]:
        if len(samples) == 0:
            return {}
        items = np.asarray(samples, dtype=np.int64)
        options, rows = self.options, items if items.ndim == 1 else items[:, 0]
        batch = super().collater(rows, steps)
        own = self.report_ids[rows]
        # Fixed-size draws come first, so that no record's numbers depend on its neighbours' texts.
        generators = record_generators(options.seed, self.epoch if options.train else 0, rows)
        fixed = np.stack([generator.random(14) for generator in generators])
        swap_key, negative_key, lead_keys = fixed[:, 0], fixed[:, 1], fixed[:, 2:]
        mem_noise = np.stack([g.integers(0, 2**31, options.n_ecg_tokens, dtype=np.int64) for g in generators])

        if items.ndim == 1:
            swapped = np.zeros(len(rows), dtype=bool)
            swapped[swap_key.argsort(kind="stable")[: len(rows) // 2]] = True
            used = own.copy()
            used[swapped] = self.draw_negatives(own[swapped], negative_key[swapped])
        else:
            used = items[:, 1]
            swapped = used != own  # no report is its own negative
        ids, padding = self.pad_texts(used)
        uniforms = np.zeros((3, *ids.shape))  # zeros under padding are never looked at
        for row, generator in enumerate(generators):
            length = int((~padding[row]).sum())
            uniforms[:, row, :length] = generator.random((3, length))
        text = self.mask_words(ids, padding, uniforms)

        lead_mask = random_lead_mask(lead_keys, options.lead_mask_probability) if options.train else None
        batch["net_input"].update(
            lead_mask=None if lead_mask is None else torch.from_numpy(lead_mask),
            text=torch.from_numpy(text.ids),
            text_padding_mask=torch.from_numpy(padding),
            mlm_mask=torch.from_numpy(text.mask),
            mem_noise=torch.from_numpy(mem_noise),
        )
        batch.update(
            mlm_target=torch.from_numpy(text.target),
            aligned=torch.from_numpy(~swapped),
            report_id=torch.from_numpy(own.astype(np.int64)),
            text_report_id=torch.from_numpy(used.astype(np.int64)),
            ntokens=int((~padding).sum()),
        )
        if not options.train:
            report, report_padding = self.pad_texts(own)
            batch["report_text"] = torch.from_numpy(report)
            batch["report_padding_mask"] = torch.from_numpy(report_padding)
        return batch

    collator = collater
