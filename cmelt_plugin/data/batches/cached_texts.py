"""What a frozen text encoder makes of reports, read in training in place of running it: ``task.texts=cached``."""

from dataclasses import dataclass, field
from typing import Any, Optional

import torch

from cmelt_plugin.data.batches.inputs import InputOptions, Pairs
from cmelt_plugin.data.text.report_embeddings import ReportEmbeddings, load_report_embeddings
from cmelt_plugin.errors import DataError

TEXTS = ("encode", "cached")
SAMPLE = 1024  # numbers of a weight that are compared
ROUNDING = 2**-8  # twice what bfloat16 changes a number by


@dataclass
class CachedTextOptions(InputOptions):
    """Options of the task for systems whose text encoder may be frozen, wholly or in its lower layers."""

    texts: str = field(
        default="encode",
        metadata={
            "help": "encode: every batch's reports run through the text encoder; cached: what its frozen layers make of each "
            "report is read from a file in training (preprocess/report_embeddings.py)"
        },
    )


class CachedTexts:
    """Which vectors or states a model's text encoder makes.

    Its fingerprint is taken when the model is built: hosts round the weights afterwards, for ``common.fp16`` or ``bf16``.

    Args:
        model: a :class:`cmelt_plugin.models.base.CacheableText` with a ``text_encoder``.
    """

    def __init__(self, model: Any):
        self.fingerprint: str = model.text_fingerprint()
        self.added_tokens: Optional[int] = model.cached_tokens
        self.weights = [weight for weight in model.text_encoder.parameters() if not weight.requires_grad]
        self.samples = self._samples()

    @classmethod
    def of(cls, options: CachedTextOptions, model: Any, remedy: str) -> "Optional[CachedTexts]":
        """For ``task.texts=cached``; None where texts are encoded.

        Args:
            options: of the task.
            model: see the class.
            remedy: what of the model's settings must be otherwise where nothing can be kept.

        Raises:
            DataError: what the text encoder makes of a report changes in training.
        """
        if options.texts not in TEXTS:
            raise DataError(f"task.texts must be one of {', '.join(TEXTS)}, not {options.texts!r}")
        if options.texts == "encode":
            return None
        if not model.text_is_cacheable:
            raise DataError(f"task.texts=cached with model.text_free_layers={model.cfg.text_free_layers}: {remedy}")
        return cls(model)

    def open(self, pairs: Pairs, command: str) -> Optional[ReportEmbeddings]:
        """Those of a split's reports; None in validation, which encodes reports for its retrieval anyway.

        Args:
            pairs: the split.
            command: options of preprocess/report_embeddings.py that make them.

        Raises:
            DataError: there are none, or not those this text encoder makes.
        """
        if not pairs.train:
            return None
        directory, (tokens, _) = pairs.manifest.directory, pairs.texts()
        self.check()
        try:
            return load_report_embeddings(directory, tokens, self.fingerprint, pairs.max_text_tokens, self.added_tokens)
        except DataError as error:
            raise DataError(
                f"{error} (task.texts=cached; python preprocess/report_embeddings.py --manifest {directory} makes them, with "
                f"{command})"
            ) from None

    def _samples(self) -> list[torch.Tensor]:
        """Some numbers of every frozen weight: a checkpoint may have other layers, and the same embeddings."""
        steps = [max(1, weight.numel() // SAMPLE) for weight in self.weights]
        return [weight.detach().flatten()[::step].float().cpu().clone() for weight, step in zip(self.weights, steps)]

    def check(self) -> None:
        """
        Raises:
            DataError: other weights were loaded since.
        """
        for computed, stored in zip(self._samples(), self.samples):
            if not torch.allclose(computed, stored, rtol=ROUNDING, atol=1e-7):
                raise DataError(
                    "task.texts=cached: the checkpoint has another text encoder than model.text_encoder names, or has trained "
                    "layers that are frozen now; what would be read from the file is not what it makes of reports. Name the "
                    "checkpoint's, or set task.texts=encode"
                )
