"""What C-MELT's batches hold beside ECG and report: negatives, masked words and leads, noise that drops ECG tokens."""

from dataclasses import dataclass, field
from typing import Any, Optional, Union

import numpy as np
import torch

from cmelt_plugin.data.batches.augmentation import LeadMasking, LeadMaskingOptions
from cmelt_plugin.data.batches.inputs import Inputs, Pairs, Records, SplitInputs
from cmelt_plugin.data.batches.length_groups import first_halves
from cmelt_plugin.data.batches.negatives import NegativeTable, RandomNegatives, has_negatives
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.word_masking import WordMasker
from cmelt_plugin.errors import DataError

NEGATIVES = ("n3s", "random")


@dataclass
class CMELTInputOptions(LeadMaskingOptions):
    negatives: str = field(
        default="n3s",
        metadata={"help": "negative reports for ETM: n3s (sidecar of preprocess/n3s.py) or random"},
    )
    mlm_probability: float = field(default=0.25, metadata={"help": "share of words masked"})


class CMELTSplitInputs(SplitInputs):
    """Half of each batch with a negative report in place of its own.

    Adds to ``net_input``: ``lead_mask`` (bool ``[B, 12]``, True = to be zeroed; None outside training), ``text`` (masked ids
    ``[B, L]``), ``text_padding_mask``, ``mlm_mask``, ``mem_noise`` (int64 ``[B, N]``); to the batch: ``mlm_target``,
    ``aligned`` (bool ``[B]``), ``text_report_id [B]``.

    Args:
        pairs: the split.
        options: of the task.
        n_ecg_tokens: N, tokens of a record in the ECG encoder.
        negatives: where the reports of swapped rows come from.
    """

    halves = True

    def __init__(
        self, pairs: Pairs, options: CMELTInputOptions, n_ecg_tokens: int, negatives: Union[NegativeTable, RandomNegatives]
    ):
        super().__init__(pairs)
        self.masking = LeadMasking(options.lead_mask_probability, options.lead_sets)
        self.n_ecg_tokens, self.negatives = n_ecg_tokens, negatives
        info = pairs.texts()[0].info
        self.mask_words = WordMasker(options.mlm_probability, info["mask_id"], info["vocab_size"], info["special_ids"])

    def texts_of_epoch(self, order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        report = super().texts_of_epoch(order, size, rng)
        swapped = first_halves(len(order), size)
        report[swapped] = self.negatives.draw(report[swapped], rng.random(np.count_nonzero(swapped)))
        return report

    def add(self, batch: dict[str, Any], records: Records) -> None:
        own, generators, n_rows = records.report_ids, records.generators, len(records.rows)
        assert own is not None
        # Fixed-size draws come first, so that no record's numbers depend on its neighbours' texts.
        fixed = np.stack([generator.random(2 + self.masking.n_keys) for generator in generators])
        swap_key, negative_key, lead_keys = fixed[:, 0], fixed[:, 1], fixed[:, 2:]
        mem_noise = np.stack([g.integers(0, 2**31, self.n_ecg_tokens, dtype=np.int64) for g in generators])
        if records.shown is None:
            swapped = np.zeros(n_rows, dtype=bool)
            swapped[swap_key.argsort(kind="stable")[: n_rows // 2]] = True
            shown = own.copy()
            shown[swapped] = self.negatives.draw(own[swapped], negative_key[swapped])
        else:
            shown = records.shown
            swapped = shown != own  # no report is its own negative
        ids, padding = self.padded_texts(shown)
        uniforms = np.zeros((3, *ids.shape))  # zeros under padding are never looked at
        for row, generator in enumerate(generators):
            length = int((~padding[row]).sum())
            uniforms[:, row, :length] = generator.random((3, length))
        text = self.mask_words(ids, padding, uniforms)
        lead_mask = self.masking(lead_keys, batch["net_input"]["ecg"]) if self.pairs.train else None

        self.add_texts(batch, text.ids, padding)
        batch["net_input"].update(
            lead_mask=None if lead_mask is None else torch.from_numpy(lead_mask),
            mlm_mask=torch.from_numpy(text.mask),
            mem_noise=torch.from_numpy(mem_noise),
        )
        batch.update(
            mlm_target=torch.from_numpy(text.target),
            aligned=torch.from_numpy(~swapped),
            text_report_id=torch.from_numpy(shown.astype(np.int64)),
        )


class CMELTInputs(Inputs):
    """See :class:`CMELTSplitInputs`."""

    Options = CMELTInputOptions
    text_fillers = {**Inputs.text_fillers, "mlm_mask": False}

    def __init__(self, options: CMELTInputOptions, model: Any):
        super().__init__(options, model)
        self.n_ecg_tokens = int(model.n_ecg_tokens)
        if options.negatives not in NEGATIVES:
            raise DataError(f"task.negatives must be one of {', '.join(NEGATIVES)}, not {options.negatives!r}")

    def open(self, pairs: Pairs) -> CMELTSplitInputs:
        manifest, (_, report_ids) = pairs.manifest, pairs.texts()
        negatives: Union[NegativeTable, RandomNegatives]
        if self.options.negatives == "n3s":
            negatives = NegativeTable.load(manifest.directory, manifest.split)
        elif (report_ids == report_ids[:1]).all():
            raise DataError(f"{manifest.directory}/{manifest.split}.tsv: one report only, there is nothing to swap it for")
        else:
            negatives = RandomNegatives(report_ids)
        return CMELTSplitInputs(pairs, self.options, self.n_ecg_tokens, negatives)

    def missing(self, manifest: Manifest, sources: Optional[np.ndarray] = None) -> Optional[str]:
        """Labelled test sets seldom have negatives. Where a sidecar shows that they were made, one that is not there is an
        error when it is opened."""
        if self.options.negatives != "n3s":
            return super().missing(manifest, sources)
        return None if has_negatives(manifest.directory) else "no negatives (preprocess/n3s.py)"
