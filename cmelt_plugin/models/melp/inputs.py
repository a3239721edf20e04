"""What MELP's batches hold beside ECG and report: where the report's sentences lie, masked leads, states that were kept."""

from dataclasses import dataclass
from typing import Any, Optional

import torch

from cmelt_plugin.data.batches.augmentation import LeadMasking, LeadMaskingOptions, add_lead_mask
from cmelt_plugin.data.batches.cached_texts import CachedTextOptions, CachedTexts
from cmelt_plugin.data.batches.inputs import Inputs, Pairs, Records, SplitInputs
from cmelt_plugin.data.text.padding import padded_spans
from cmelt_plugin.data.text.report_embeddings import ReportEmbeddings


@dataclass
class MELPInputOptions(CachedTextOptions, LeadMaskingOptions):
    """Options of MELP's batches."""


class MELPSplitInputs(SplitInputs):
    """Every ECG beside its own report.

    Adds to ``net_input``: ``text`` and ``text_padding_mask`` ``[B, L]``; ``sentence_spans`` (int64 ``[B, S, 2]``, first token
    and end of each of the report's statements, at least one) and ``sentence_padding_mask`` (bool ``[B, S]``, True = padding);
    in training that masks leads ``lead_mask`` (bool ``[B, 12]``, True = to be zeroed); in training that reads them from a
    file ``text_states`` (``[B, N, W]``, of the text tower's frozen layers). To the batch: ``max_sentences``, the largest S of
    any batch of the split.

    Args:
        pairs: the split.
        options: of the task.
        states: of the reports' tokens; None: texts run through all layers.
    """

    def __init__(self, pairs: Pairs, options: MELPInputOptions, states: Optional[ReportEmbeddings] = None):
        super().__init__(pairs)
        self.masking, self.states = LeadMasking(options.lead_mask_probability, options.lead_sets), states
        self.max_sentences = pairs.texts()[0].most_spans(pairs.max_text_tokens)

    def add(self, batch: dict[str, Any], records: Records) -> None:
        assert records.report_ids is not None
        if self.pairs.train:
            add_lead_mask(batch, records, self.masking)
        super().add(batch, records)
        spans, padding = padded_spans(self.pairs.texts()[0], records.report_ids, self.pairs.max_text_tokens)
        batch["net_input"].update(sentence_spans=torch.from_numpy(spans), sentence_padding_mask=torch.from_numpy(padding))
        batch["max_sentences"] = self.max_sentences
        if self.states is not None:
            batch["net_input"]["text_states"] = torch.from_numpy(self.states.states(records.report_ids))


class MELPInputs(Inputs):
    """See :class:`MELPSplitInputs`."""

    Options = MELPInputOptions
    reads_statements = True

    def __init__(self, options: MELPInputOptions, model: Any):
        """
        Raises:
            DataError: states of reports are wanted, and the layers that would make them train.
        """
        super().__init__(options, model)
        remedy = (
            "states of reports can be kept where lower layers are frozen with the embeddings and texts are as long as they "
            "are; set model.text_free_layers between 0 and the number of layers less 1, model.text_free_embeddings=false and "
            "model.text_layout=dynamic, or task.texts=encode"
        )
        self.cache = CachedTexts.of(options, model, remedy)

    def open(self, pairs: Pairs) -> MELPSplitInputs:
        """
        Raises:
            DataError: there are no states of the reports, or not the ones this text encoder makes.
        """
        command = (
            "--system melp, --text-encoder and --max-tokens as model.text_encoder and task.max_text_tokens say, and --set "
            "text_free_layers=… as model.text_free_layers"
        )
        return MELPSplitInputs(pairs, self.options, self.cache.open(pairs, command) if self.cache else None)
