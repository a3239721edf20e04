"""The configuration of a folder with code for ``AutoModel``. Imported there, by transformers, and nowhere here."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class ECGConfig(PretrainedConfig):
    """What a folder's ``config.json`` holds.

    Args:
        settings: the model's own, as in its training.
        signal: what recordings must be: arguments of ``ECGFeatureExtractor``.
        classes: names of what is scored; empty: nothing is.
        scores: what scores are: ``probability``, ``pair_probability`` or ``similarity``.
        exclusive: the classes of a classifier exclude each other.
        class_width: of the embeddings of classes.
        gaussian_classes: these embeddings are Gaussians.
        pool: how features are pooled.
    """

    model_type = "cmelt-ecg"

    def __init__(
        self,
        settings: dict[str, Any] | None = None,
        signal: dict[str, Any] | None = None,
        classes: list[str] | None = None,
        scores: str | None = None,
        exclusive: bool = False,
        class_width: int = 0,
        gaussian_classes: bool = False,
        pool: str | None = None,
        **more: Any,
    ) -> None:
        self.settings = settings or {}
        self.signal = signal or {}
        self.classes = classes or []
        self.scores = scores
        self.exclusive = exclusive
        self.class_width = class_width
        self.gaussian_classes = gaussian_classes
        self.pool = pool
        super().__init__(**more)
