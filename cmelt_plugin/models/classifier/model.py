"""``cmelt_classifier``: a linear layer on an ECG encoder (paper §4.1.2, full fine-tuning and linear probing)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.models.encoder_source import DROPOUTS, SIZES, read_encoder
from cmelt_plugin.modules.conv_layers import parse_conv_layers
from cmelt_plugin.modules.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.feature_extractor import ConvStack
from cmelt_plugin.modules.linear_head import initialise_head
from cmelt_plugin.modules.pooling import ECG_POOLS, pool_ecg_states
from cmelt_plugin.optim.depths import set_depth

logger = logging.getLogger(__name__)

FREEZE = ("none", "encoder")


class Classifier(nn.Module):
    """ECG encoder → pooled features → linear layer. Build it with :meth:`build_model`.

    A frozen encoder runs in eval mode, so that its features are those of the pre-trained model: no dropout.
    """

    ecg_feature_extractor = ConvStack  # a host puts its own in this place

    def __init__(self, cfg: ClassifierConfig):
        super().__init__()
        if cfg.pool not in ECG_POOLS or cfg.freeze not in FREEZE:
            raise DataError(f"model.pool must be one of {', '.join(ECG_POOLS)} and model.freeze one of {', '.join(FREEZE)}")
        if cfg.num_classes < 1:
            raise DataError("model.num_classes is not set; it comes from the manifest of the task cmelt_classification")
        self.cfg = cfg
        self.num_updates = 0
        conv_layers = parse_conv_layers(cfg.conv_feature_layers)
        self.ecg_encoder = ECGEncoder(
            self.ecg_feature_extractor(conv_layers, len(LEADS)),
            conv_layers,
            dim=cfg.encoder_embed_dim,
            layers=cfg.encoder_layers,
            heads=cfg.encoder_attention_heads,
            ffn_dim=cfg.encoder_ffn_embed_dim,
            dropout=cfg.dropout,
            attention_dropout=cfg.attention_dropout,
            conv_pos=cfg.conv_pos,
            conv_pos_groups=cfg.conv_pos_groups,
            feature_grad_mult=cfg.feature_grad_mult,
        )
        self.head_dropout = nn.Dropout(cfg.head_dropout)
        self.head = nn.Linear(cfg.encoder_embed_dim, cfg.num_classes)
        initialise_head(self.head.weight, self.head.bias)
        self.register_buffer("outputs", outputs_key(cfg.class_names))
        if cfg.freeze == "encoder":
            self.ecg_encoder.requires_grad_(False)
        self._number_layers()

    @classmethod
    def prepare_config(cls, cfg: ClassifierConfig) -> None:
        """Fill in the encoder's sizes, so that a checkpoint can be opened without the pre-trained one.

        Raises:
            DataError: a size that was given is not that of the pre-trained encoder, or that encoder cannot be read.
        """
        if all(getattr(cfg, name) is not None for name in (*SIZES, *DROPOUTS)):
            return
        source = read_encoder(cfg.pretrained) if cfg.pretrained else None
        for name in SIZES:
            given, found = getattr(cfg, name), source.sizes[name] if source else getattr(CMELTConfig, name)
            if given is None:
                setattr(cfg, name, found)
            elif source is not None and given != found:
                raise DataError(
                    f"model.{name}={given}, but the encoder of {cfg.pretrained} has {found}; leave model.{name} out"
                )
        for name in DROPOUTS:
            if getattr(cfg, name) is None:
                setattr(cfg, name, source.dropouts[name] if source else getattr(CMELTConfig, name))

    @classmethod
    def build_model(cls, cfg: ClassifierConfig, task: Any = None) -> Classifier:
        """The host's way to a model; ``task.loading_checkpoint`` spares the weights a checkpoint overwrites.

        Raises:
            DataError: the pre-trained encoder cannot be read or does not fit, strictly.
        """
        loading = bool(getattr(task, "loading_checkpoint", False))
        unset = [name for name in (*SIZES, *DROPOUTS) if getattr(cfg, name) is None]
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

    def features(self, ecg: Tensor, n_samples: Tensor | None = None, lead_mask: Tensor | None = None) -> Tensor:
        """Pooled features ``[B, D]``; arguments as in :meth:`forward`."""
        if lead_mask is not None:
            ecg = ecg.masked_fill(lead_mask.unsqueeze(-1), 0.0)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            encoded = self.ecg_encoder(ecg, n_samples)
        pooled = pool_ecg_states(encoded.states, encoded.padding_mask, self.cfg.pool)
        if self.training and torch.is_grad_enabled() and self.frozen:
            # Data-parallel training waits for a gradient of every parameter it was told of: zero is one.
            values = [parameter.flatten()[0] for parameter in self.frozen_parameters()]
            pooled = pooled + 0.0 * torch.stack(values).sum() if values else pooled
        return pooled

    pools = ECG_POOLS

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str = "cls") -> Tensor:
        """``ecg [B, 12, T]`` mV → pooled states of the ECG encoder ``[B, D]`` float32."""
        encoded = self.ecg_encoder(ecg, n_samples)
        return pool_ecg_states(encoded.states.float(), encoded.padding_mask, pool)

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
        layers = self.ecg_encoder.encoder.layers
        for parameter in self.ecg_encoder.parameters():
            set_depth(parameter, len(layers) + 1)
        for index, layer in enumerate(layers):
            for parameter in layer.parameters():
                set_depth(parameter, len(layers) - index)
        for parameter in self.head.parameters():
            set_depth(parameter, 0)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs):
        found = state_dict.get(f"{prefix}outputs")
        if found is not None and not torch.equal(found.cpu(), self.outputs.cpu()):
            error_msgs.append(
                "the checkpoint was trained on other classes, or on the same ones in another order, than the manifest names"
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)


def outputs_key(names: Sequence[str]) -> Tensor:
    """int64 ``[1]``: a fingerprint of the names of the outputs in order.

    It travels with the weights, so that training cannot be resumed on a manifest with other columns unnoticed.
    """
    digest = hashlib.sha256("\n".join(map(str, names)).encode("utf-8")).digest()
    return torch.tensor([int.from_bytes(digest[:8], "big", signed=True)])
