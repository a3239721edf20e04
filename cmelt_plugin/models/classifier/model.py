"""``cmelt_classifier``: a linear layer on the ECG encoder of any system (paper §4.1.2, full fine-tuning and linear probing)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin import registry
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import CosineSimilarity, Embedding
from cmelt_plugin.models.files.encoder_source import encoder_additions, encoder_names, encoder_settings, read_encoder
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack
from cmelt_plugin.modules.ecg.length_batch_norm import share_statistics
from cmelt_plugin.modules.linear_head import initialise_head
from cmelt_plugin.optim.depths import set_depth

logger = logging.getLogger(__name__)

FREEZE = ("none", "encoder")
ENCODER = "ecg_encoder."  # with which the names of its weights begin


class Classifier(CosineSimilarity, nn.Module):
    """ECG encoder → pooled features → linear layer. Build it with :meth:`build_model`.

    A frozen encoder runs in eval mode, so that its features are those of the pre-trained model: no dropout.

    Attributes:
        ecg_encoder: what the system's ``build_encoder`` makes (:class:`cmelt_plugin.models.base.ECGModel`).
        pools: the encoder's ways of pooling.
        signal: the ECGs the encoder was trained on.
    """

    ecg_feature_extractor = ConvStack  # a host puts its own in this place

    def __init__(self, cfg: Any):
        super().__init__()
        system = registry.system_of_encoder(cfg.encoder).model_class()
        self.pools: Sequence[str] = system.pools
        if cfg.pool not in self.pools or cfg.freeze not in FREEZE:
            raise DataError(f"model.pool must be one of {', '.join(self.pools)} and model.freeze one of {', '.join(FREEZE)}")
        if cfg.num_classes < 1:
            raise DataError("model.num_classes is not set; it comes from the manifest of the task cmelt_classification")
        self.cfg = cfg
        self.num_updates = 0
        self.ecg_encoder = system.build_encoder(cfg, self.ecg_feature_extractor)
        share_statistics(self.ecg_encoder, self.data_parallel_group)
        self.signal: SignalContract = getattr(self.ecg_encoder, "signal", SignalContract())
        self.head_dropout = nn.Dropout(cfg.head_dropout)
        self.head = nn.Linear(self.ecg_encoder.width, cfg.num_classes)
        initialise_head(self.head.weight, self.head.bias)
        self.register_buffer("outputs", outputs_key(cfg.class_names))
        if cfg.freeze == "encoder":
            self.ecg_encoder.requires_grad_(False)
        self._number_layers()

    @staticmethod
    def data_parallel_group() -> Any | None:
        """The ranks whose batch statistics are shared; a host puts its own in this place."""
        return None

    @classmethod
    def prepare_config(cls, cfg: Any) -> None:
        """Fill in the encoder's system and settings, so that a checkpoint can be opened without the pre-trained one.

        Raises:
            DataError: a size that was given is not that of the pre-trained encoder, or that encoder cannot be read.
        """
        system = registry.system_of_encoder(cfg.encoder)
        if any(getattr(cfg, name) is None for name in encoder_names(system)):
            source = read_encoder(cfg.pretrained) if cfg.pretrained else None
            if source is not None and cfg.encoder not in (None, source.system.name):
                raise DataError(f"model.encoder={cfg.encoder}, but {cfg.pretrained} holds that of {source.system.name}")
            system = system if source is None else source.system
            _fill_in(cfg, system, None if source is None else source.settings)
        cfg.encoder = system.name
        if cfg.pool is None:
            cfg.pool = system.model_class().pools[0]

    @classmethod
    def build_model(cls, cfg: Any, task: Any = None) -> Classifier:
        """The host's way to a model; ``task.loading_checkpoint`` spares the weights a checkpoint overwrites.

        Raises:
            DataError: the pre-trained encoder cannot be read or does not fit, strictly.
        """
        loading = bool(getattr(task, "loading_checkpoint", False))
        system = registry.system_of_encoder(cfg.encoder)
        for name, value in encoder_additions(system).items() if loading else ():
            if getattr(cfg, name) is None:
                setattr(cfg, name, value)
        unset = [name for name in encoder_names(system) if getattr(cfg, name) is None]
        if loading and unset:
            raise ValueError(f"{', '.join(unset)}: not set, so its ECG encoder is not described")
        cls.prepare_config(cfg)
        model = cls(cfg)
        if cfg.pretrained and not loading:
            source = read_encoder(cfg.pretrained)
            read_encoder.cache_clear()
            try:
                model.ecg_encoder.load_state_dict(source.weights, strict=True)
            except RuntimeError as error:
                raise DataError(f"model.pretrained={cfg.pretrained}: does not fit the encoder: {error}") from None
            logger.info("ECG encoder: %d weights from %s", len(source.weights), cfg.pretrained)
        elif not loading:
            logger.warning("ECG encoder: random weights (model.pretrained is not set)")
        return model

    @staticmethod
    def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the weights of a classifier those of its encoder, under the encoder's names."""
        return {name[len(ENCODER) :]: tensor for name, tensor in state.items() if name.startswith(ENCODER)}

    @property
    def frozen(self) -> bool:
        """Whether the encoder stays as it is in the current update."""
        return self.cfg.freeze == "encoder" or self.num_updates < self.cfg.freeze_updates

    def frozen_parameters(self) -> list[nn.Parameter]:
        """Parameters the optimiser knows but must leave alone in this update (``freeze_updates``)."""
        return [p for p in self.ecg_encoder.parameters() if p.requires_grad] if self.frozen else []

    def set_num_updates(self, num_updates: int) -> None:
        """Called by the hosts before every update."""
        self.num_updates = num_updates
        self.train(self.training)

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        if self.frozen:
            self.ecg_encoder.eval()
        return self

    def layers(self) -> list[nn.Module]:
        """Layers of the ECG encoder, from input to output."""
        return self.ecg_encoder.layers()

    def features(self, ecg: Tensor, n_samples: Tensor | None = None, lead_mask: Tensor | None = None) -> Tensor:
        """Pooled features ``[B, D]``; arguments as in :meth:`forward`."""
        if lead_mask is not None:
            ecg = ecg.masked_fill(lead_mask.unsqueeze(-1), 0.0)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            pooled = self.ecg_encoder.features(ecg, n_samples, self.cfg.pool)
        if self.training and torch.is_grad_enabled() and self.frozen:
            # Data-parallel training waits for a gradient of every parameter it was told of: zero is one.
            values = [parameter.flatten()[0] for parameter in self.frozen_parameters()]
            pooled = pooled + 0.0 * torch.stack(values).sum() if values else pooled
        return pooled

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None) -> Tensor:
        """``ecg [B, 12, T]`` mV → features ``[B, D]`` float32; ``pool`` is one of :attr:`pools`, None: the classifier's."""
        return self.ecg_encoder.features(ecg, n_samples, pool or self.cfg.pool).float()

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None, lead_mask: Tensor | None = None) -> Embedding:
        """Features of unit length ``[B, D]`` float32, for similarities between recordings."""
        return Embedding(nn.functional.normalize(self.features(ecg, n_samples, lead_mask).float(), dim=-1))

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None, lead_mask: Tensor | None = None) -> dict[str, Tensor]:
        """
        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            lead_mask: ``[B, 12]`` bool, True = a lead the encoder does not see (zero); None: it sees all.

        Returns:
            ``logits [B, C]`` and ``features [B, D]``.
        """
        features = self.features(ecg, n_samples, lead_mask)
        return {"logits": self.head(self.head_dropout(features)), "features": features}

    def _number_layers(self) -> None:
        """Depth of every parameter, for layer-wise learning rates: 0 = head, 1 = last layer, …, L + 1 = below them."""
        layers = self.layers()
        for parameter in self.ecg_encoder.parameters():
            set_depth(parameter, len(layers) + 1)
        for index, layer in enumerate(layers):
            for parameter in layer.parameters():
                set_depth(parameter, len(layers) - index)
        for parameter in self.head.parameters():
            set_depth(parameter, 0)

    outputs: Tensor

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        *_, error_msgs = arguments
        found = state_dict.get(f"{prefix}outputs")
        if found is not None and not torch.equal(found.cpu(), self.outputs.cpu()):
            error_msgs.append(
                "the checkpoint was trained on other classes, or on the same ones in another order, than the manifest names"
            )
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _fill_in(cfg: Any, system: registry.System, found: Mapping[str, Any] | None) -> None:
    """Settings that are not given, from the pre-trained encoder (None: the system's defaults); sizes must be its own."""
    config = system.config_class()
    values = found
    if values is None:
        given = {name: getattr(cfg, name) for name in encoder_names(system)}
        default = {name: getattr(config, name) if value is None else value for name, value in given.items()}
        values = encoder_settings(system, SimpleNamespace(**default))
    for name, value in values.items():
        given = getattr(cfg, name)
        if given is None:
            setattr(cfg, name, value)
        elif found is not None and name in config.encoder_sizes and given != value:
            raise DataError(f"model.{name}={given}, but the encoder of {cfg.pretrained} has {value}; leave model.{name} out")


def outputs_key(names: Sequence[str]) -> Tensor:
    """int64 ``[1]``: a fingerprint of the names of the outputs in order.

    It travels with the weights, so that training cannot be resumed on a manifest with other columns unnoticed.
    """
    digest = hashlib.sha256("\n".join(map(str, names)).encode("utf-8")).digest()
    return torch.tensor([int.from_bytes(digest[:8], "big", signed=True)])
