"""A trained model and what its file says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cmelt_plugin import registry
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.files.loaded_settings import TARGET_DEVIATION


class OpenedModel:
    """A model in eval mode on its device.

    Attributes:
        model: a registered :class:`cmelt_plugin.models.base.ECGModel`.
        cfg: configuration of the run, plain dictionaries (``model``, ``task``, …).
        task_state: what the task keeps, e.g. ``tokenizer_fingerprint``.
        source: path it was loaded from.
        device: where the model is.

    Raises:
        DataError: the model is none of ECGs.
    """

    def __init__(self, loaded: LoadedModel, source: str, device: str | torch.device = "cpu"):
        registered = registry.models().get((loaded.cfg.get("model") or {}).get("_name", ""))
        if registered is not None and registered.exporter is not None:
            raise DataError(
                f"{source}: a language model, which reads no ECGs; `python -m cmelt_plugin.export` makes a folder of it that "
                "model.text_encoder takes"
            )
        self.device = torch.device(device)
        self.model: Any = loaded.model.to(self.device).eval()
        self.cfg, self.task_state = loaded.cfg, loaded.task_state
        self.source = source

    @property
    def is_classifier(self) -> bool:
        """Whether the model is a fine-tuned ECG encoder with outputs of its own."""
        return getattr(getattr(self.model, "cfg", None), "num_classes", None) is not None

    @property
    def reads_text(self) -> bool:
        """Whether the model has a text encoder."""
        return hasattr(self.model, "embed_text")

    @property
    def class_names(self) -> list[str]:
        """Classes of a fine-tuned classifier in the order of its outputs; empty for other models."""
        if self.measurement:
            return []
        names = [str(name) for name in getattr(self.model.cfg, "class_names", None) or []]
        # A model that identifies subjects keeps a fingerprint of theirs in this place.
        return names if len(names) == getattr(self.model.cfg, "num_classes", -1) else []

    @property
    def measurement(self) -> str:
        """What a fine-tuned regression estimates; "" for other models."""
        return str(self.model.cfg.class_names[0]) if self.is_classifier and TARGET_DEVIATION in self.task_state else ""

    @property
    def exclusive(self) -> bool:
        """Whether the classes of a classifier exclude each other: its probabilities sum to one."""
        return (self.cfg.get("task") or {}).get("problem") == "multi_class"

    @property
    def thresholds(self) -> dict[str, float]:
        """Class → the probability from which on it counts as present, chosen on validation data by F1.

        Classes without one are left out: none was positive there, or the classes exclude each other.
        """
        values = self.task_state.get("thresholds")
        if self.exclusive or values is None or len(values) != len(self.class_names):
            return {}
        return {name: float(value) for name, value in zip(self.class_names, values) if value is not None and value == value}

    @property
    def leads(self) -> Sequence[str]:
        """The leads the model reads: those of its signals, or fewer that a classifier was trained on."""
        chosen = (self.cfg.get("task") or {}).get("leads") if self.is_classifier else None
        return tuple(str(lead) for lead in chosen) if chosen else tuple(self.model.signal.leads)

    @property
    def logit_scale(self) -> float:
        """Learned factor on similarities; 1 where the model has none."""
        return _number(getattr(self.text_model, "logit_scale", 1.0))

    @property
    def logit_bias(self) -> float:
        """Learned offset of similarities; 0 where the model has none."""
        return _number(getattr(self.text_model, "logit_bias", 0.0))

    @property
    def text_model(self) -> Any:
        """The model, a :class:`cmelt_plugin.models.base.ECGTextModel`.

        Raises:
            DataError: it reads no texts.
        """
        if not self.reads_text:
            kind = (
                "a fine-tuned model, which reads no texts; use classify() or encode_ecg()"
                if self.is_classifier
                else ("an encoder of ECGs alone, which reads no texts; use ecg_features()")
            )
            raise DataError(f"{self.source}: {kind}")
        return self.model


def _number(value: Any) -> float:
    return float(value.detach() if isinstance(value, torch.Tensor) else value)
