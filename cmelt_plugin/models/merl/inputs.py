"""What MERL's batches hold beside ECG and report: masked leads and, for a frozen text tower, vectors of the reports."""

from dataclasses import dataclass
from typing import Any, Optional

import torch

from cmelt_plugin.data.batches.augmentation import LeadMasking, LeadMaskingOptions, add_lead_mask
from cmelt_plugin.data.batches.cached_texts import CachedTextOptions, CachedTexts
from cmelt_plugin.data.batches.inputs import Inputs, Pairs, Records, SplitInputs
from cmelt_plugin.data.text.report_embeddings import ReportEmbeddings


@dataclass
class MERLInputOptions(CachedTextOptions, LeadMaskingOptions):
    """Options of MERL's batches."""


class MERLSplitInputs(SplitInputs):
    """Every ECG beside its own report.

    Adds to ``net_input``: ``lead_mask`` (bool ``[B, 12]``, True = to be zeroed; only in training that masks leads), and
    ``text`` with ``text_padding_mask``, or in their place ``text_features`` (float32 ``[B, W]``).

    Args:
        pairs: the split.
        options: of the task.
        vectors: of the reports; None: texts are encoded.
    """

    def __init__(self, pairs: Pairs, options: MERLInputOptions, vectors: Optional[ReportEmbeddings] = None):
        super().__init__(pairs)
        self.masking, self.vectors = LeadMasking(options.lead_mask_probability, options.lead_sets), vectors

    def add(self, batch: dict[str, Any], records: Records) -> None:
        if self.pairs.train:
            add_lead_mask(batch, records, self.masking)
        if self.vectors is None:
            super().add(batch, records)
        else:
            assert records.report_ids is not None
            batch["net_input"]["text_features"] = torch.from_numpy(self.vectors.rows(records.report_ids))


class MERLInputs(Inputs):
    """See :class:`MERLSplitInputs`."""

    Options = MERLInputOptions

    def __init__(self, options: MERLInputOptions, model: Any):
        """
        Raises:
            DataError: vectors of reports are wanted, and the text encoder that would make them trains.
        """
        super().__init__(options, model)
        remedy = (
            "vectors of reports can be kept for a frozen text encoder alone; set model.text_free_layers=0 or task.texts=encode"
        )
        self.cache = CachedTexts.of(options, model, remedy)

    def open(self, pairs: Pairs) -> MERLSplitInputs:
        """
        Raises:
            DataError: there are no vectors of the reports, or not the ones this text encoder makes.
        """
        command = "--text-encoder, --pool and --max-tokens as model.text_encoder, model.text_pool and task.max_text_tokens say"
        return MERLSplitInputs(pairs, self.options, self.cache.open(pairs, command) if self.cache else None)
