"""The model of a folder with code for ``AutoModel``. Imported there, by transformers, and nowhere here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from cmelt_plugin.automodel.configuration import ECGConfig
from cmelt_plugin.automodel.feature_extraction import ECGFeatureExtractor
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.models.base import Embedding


@dataclass
class ECGOutput(ModelOutput):
    """
    Attributes:
        features: ``[B, W]`` pooled states of the encoder.
        embedding: ``[B, D]`` as compared with texts and other recordings; of Gaussians the means.
        log_variance: ``[B, D]`` of Gaussians.
        scores: ``[B, C]`` of the configuration's classes.
    """

    features: Optional[Tensor] = None  # noqa: UP045 - ModelOutput looks at it
    embedding: Optional[Tensor] = None  # noqa: UP045
    log_variance: Optional[Tensor] = None  # noqa: UP045
    scores: Optional[Tensor] = None  # noqa: UP045


class Classified(nn.Module):
    """The encoder of an ECG side with a linear layer."""

    def __init__(self, side: Any, settings: Any) -> None:
        super().__init__()
        self.pool = settings.pool
        self.ecg_encoder = side.build_encoder(settings)
        self.head = nn.Linear(self.ecg_encoder.width, settings.num_classes)

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None) -> Tensor:
        return self.ecg_encoder.features(ecg, n_samples, pool or self.pool).float()


class ECGAutoModel(PreTrainedModel):
    """ECGs → features, embeddings and, where the configuration names classes, scores.

    Subclasses name the ECG side of their system.
    """

    config_class = ECGConfig
    base_model_prefix = "ecg"
    main_input_name = "ecg"
    side: Any = None
    ecg: Any
    class_means: Tensor
    class_log_variances: Tensor

    def __init__(self, config: ECGConfig) -> None:
        super().__init__(config)
        settings = SimpleNamespace(**config.settings)
        # Newer versions of transformers build models without memory; tables that are made here would be lost with it.
        with torch.device("cpu"):
            self.ecg = self.side(settings) if config.scores != "probability" else Classified(self.side, settings)
            if config.scores not in (None, "probability"):
                shape = len(config.classes), config.class_width
                self.register_buffer("class_means", torch.zeros(shape))
                if config.gaussian_classes:
                    self.register_buffer("class_log_variances", torch.zeros(shape))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: all weights are in the folder."""

    def forward(
        self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None, features: bool = True, **_: Any
    ) -> ECGOutput:
        """
        Args:
            ecg: ``[B, leads, samples]`` in mV, as ``ECGFeatureExtractor`` makes it.
            n_samples: ``[B]`` real samples of each; None: none is padded.
            pool: another way of pooling the features than the configuration's.
            features: False spares them where embedding and scores are wanted alone.
        """
        if n_samples is not None and not bool((n_samples < ecg.shape[-1]).any()):
            n_samples = None  # masks that mask nothing
        pool = pool or self.config.pool
        if self.config.scores == "probability":
            read = self.ecg.ecg_features(ecg, n_samples)
            logits = self.ecg.head(read)
            scores = logits.softmax(dim=-1) if self.config.exclusive else logits.sigmoid()
            pooled = read if pool == self.config.pool else self.ecg.ecg_features(ecg, n_samples, pool)
            return ECGOutput(pooled, nn.functional.normalize(read, dim=-1), None, scores)
        found = self.ecg.embed_ecg(ecg, n_samples)
        pooled = self.ecg.ecg_features(ecg, n_samples, pool) if features else None
        return ECGOutput(pooled, found.mean, found.log_variance, self._scores(found))

    @torch.no_grad()
    def classify(
        self, signal: np.ndarray | Tensor, sample_rate: float = SAMPLE_RATE, leads: Sequence[str] = LEADS, **options: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Classes with their scores, the highest first, as pipelines of transformers give them.

        Args:
            signal: ``[.., leads, samples]`` in mV.
            sample_rate, leads, options: as in ``ECGFeatureExtractor``.

        Raises:
            DataError: the recording cannot be used.
            ValueError: the folder holds no classes.
        """
        if not self.config.classes:
            raise ValueError("this folder holds no classes; export it with --prompts")
        prepared = ECGFeatureExtractor(**self.config.signal)(signal, sample_rate, leads, **options)
        scores = self(**prepared.to(self.device), features=False).scores
        names, best = self.config.classes, scores.argsort(dim=1, descending=True).tolist()
        rows = [[{"label": names[n], "score": float(row[n])} for n in order] for row, order in zip(scores, best)]
        return rows[0] if np.ndim(signal) == 2 else rows

    def _scores(self, found: Embedding) -> Tensor | None:
        """Of the baked-in classes."""
        if self.config.scores is None:
            return None
        classes = Embedding(self.class_means, self.class_log_variances if self.config.gaussian_classes else None)
        similarity = self.ecg.similarity(found, classes)
        return similarity if self.config.scores == "similarity" else self.ecg.match_probability(similarity)
