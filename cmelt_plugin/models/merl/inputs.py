"""What MERL's batches hold beside ECG and report: masked leads and, for a frozen text tower, vectors of the reports."""

from dataclasses import dataclass, field
from typing import Any, Optional

import torch

from cmelt_plugin.data.batches.augmentation import LeadMaskingOptions, add_lead_mask
from cmelt_plugin.data.batches.inputs import Inputs, Pairs, Records, SplitInputs
from cmelt_plugin.data.text.report_embeddings import ReportEmbeddings, load_report_embeddings
from cmelt_plugin.errors import DataError

TEXTS = ("encode", "cached")


@dataclass
class MERLInputOptions(LeadMaskingOptions):
    texts: str = field(
        default="encode",
        metadata={
            "help": "encode: every batch's reports run through the text encoder; cached: what a frozen text encoder makes of "
            "each report is read from a file in training (preprocess/report_embeddings.py)"
        },
    )


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
        self.options, self.vectors = options, vectors

    def add(self, batch: dict[str, Any], records: Records) -> None:
        if self.pairs.train:
            add_lead_mask(batch, records, self.options.lead_mask_probability)
        if self.vectors is None:
            super().add(batch, records)
        else:
            assert records.report_ids is not None
            batch["net_input"]["text_features"] = torch.from_numpy(self.vectors.rows(records.report_ids))


class MERLInputs(Inputs):
    """See :class:`MERLSplitInputs`."""

    Options = MERLInputOptions
    options: MERLInputOptions

    def __init__(self, options: MERLInputOptions, model: Any):
        """
        Raises:
            DataError: vectors of reports are wanted, and the text encoder that would make them trains.
        """
        super().__init__(options, model)
        if options.texts not in TEXTS:
            raise DataError(f"task.texts must be one of {', '.join(TEXTS)}, not {options.texts!r}")
        self.encoder: Optional[FrozenText] = None
        if options.texts == "cached":
            if not model.text_is_frozen:
                raise DataError(
                    f"task.texts=cached with model.text_free_layers={model.cfg.text_free_layers}: vectors of reports can be "
                    "kept for a frozen text encoder alone; set model.text_free_layers=0 or task.texts=encode"
                )
            self.encoder = FrozenText(model)

    def open(self, pairs: Pairs) -> MERLSplitInputs:
        """
        Raises:
            DataError: there are no vectors of the reports, or not the ones this text encoder makes.
        """
        if self.encoder is None or not pairs.train:  # validation encodes reports for its retrieval anyway
            return MERLSplitInputs(pairs, self.options)
        directory, (tokens, _) = pairs.manifest.directory, pairs.texts()
        self.encoder.check()
        try:
            vectors = load_report_embeddings(directory, tokens, self.encoder.fingerprint, pairs.max_text_tokens)
        except DataError as error:
            raise DataError(
                f"{error} (task.texts=cached; python preprocess/report_embeddings.py --manifest {directory} makes them, with "
                "--text-encoder, --pool and --max-tokens as model.text_encoder, model.text_pool and task.max_text_tokens say)"
            ) from None
        return MERLSplitInputs(pairs, self.options, vectors)


class FrozenText:
    """Which vectors a model's text encoder makes.

    Its fingerprint is taken when the model is built: hosts round the weights afterwards, for ``common.fp16`` or ``bf16``.
    """

    def __init__(self, model: Any):
        self.fingerprint: str = model.text_fingerprint()
        self.weights = model.text_encoder.model.get_input_embeddings()
        self.sample = self._sample()

    def _sample(self) -> torch.Tensor:
        return self.weights.weight.detach()[:64].float().cpu().clone()

    def check(self) -> None:
        """
        Raises:
            DataError: other weights were loaded since.
        """
        if not torch.allclose(self._sample(), self.sample, rtol=1e-2, atol=1e-4):
            raise DataError(
                "task.texts=cached: the checkpoint has another text encoder than model.text_encoder names, whose vectors would "
                "be used; name the checkpoint's, or set task.texts=encode"
            )
