"""What MELP's batches hold beside ECG and report: where the report's sentences lie, and masked leads."""

from typing import Any

import torch

from cmelt_plugin.data.batches.augmentation import LeadMaskingOptions, add_lead_mask
from cmelt_plugin.data.batches.inputs import Inputs, Pairs, Records, SplitInputs
from cmelt_plugin.data.text.padding import padded_spans


class MELPSplitInputs(SplitInputs):
    """Every ECG beside its own report.

    Adds to ``net_input``: ``text`` and ``text_padding_mask`` ``[B, L]``; ``sentence_spans`` (int64 ``[B, S, 2]``, first token
    and end of each of the report's statements, at least one) and ``sentence_padding_mask`` (bool ``[B, S]``, True = padding);
    in training that masks leads ``lead_mask`` (bool ``[B, 12]``, True = to be zeroed). To the batch: ``max_sentences``, the
    largest S of any batch of the split.

    Args:
        pairs: the split.
        options: of the task.
    """

    def __init__(self, pairs: Pairs, options: LeadMaskingOptions):
        super().__init__(pairs)
        self.options = options
        self.max_sentences = pairs.texts()[0].most_spans(pairs.max_text_tokens)

    def add(self, batch: dict[str, Any], records: Records) -> None:
        assert records.report_ids is not None
        if self.pairs.train:
            add_lead_mask(batch, records, self.options.lead_mask_probability)
        super().add(batch, records)
        spans, padding = padded_spans(self.pairs.texts()[0], records.report_ids, self.pairs.max_text_tokens)
        batch["net_input"].update(sentence_spans=torch.from_numpy(spans), sentence_padding_mask=torch.from_numpy(padding))
        batch["max_sentences"] = self.max_sentences


class MELPInputs(Inputs):
    """See :class:`MELPSplitInputs`."""

    Options = LeadMaskingOptions
    reads_statements = True

    def open(self, pairs: Pairs) -> MELPSplitInputs:
        return MELPSplitInputs(pairs, self.options)
