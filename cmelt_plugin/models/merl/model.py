"""MERL: multimodal ECG representation learning (Liu et al. 2024, ICML).

::

    ecg  → ECG encoder ─┬─ projection ──────────── e ┐
                        ├─ linear 1, dropout → v₁ ┐  ├─ CMA: cross-modal alignment
                        └─ linear 2, dropout → v₂ ┴──┼─ UMA: uni-modal alignment
    text → text encoder (frozen) → projection ──── t ┘

The model returns a dictionary; the criterion reads it by name and the model does not know it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, cast

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.common.gaussian_outputs import gaussian_outputs, hidden_rows, split_hidden, with_hidden
from cmelt_plugin.models.common.text_tower import WithTextEncoder, text_encoder_of
from cmelt_plugin.models.merl.config import MERLConfig
from cmelt_plugin.models.merl.ecg_side import MERLSide, variances
from cmelt_plugin.models.merl.towers import build_tower
from cmelt_plugin.modules.compiling import compile_in_training, stacked_layers
from cmelt_plugin.modules.contrast import inverse_temperature, unit
from cmelt_plugin.modules.ecg.length_batch_norm import share_statistics
from cmelt_plugin.modules.text.text_encoder import TextEncoder

OBJECTIVES = ("cma", "uma")


class MERL(WithTextEncoder, MERLSide, nn.Module):
    """The whole pre-training model. Build it with :meth:`build_model`."""

    log_logit_scale: Tensor
    log_uma_scale: Tensor
    cached_tokens = None

    def __init__(self, cfg: MERLConfig, text_encoder: TextEncoder, n_leads: int = len(LEADS)):
        super().__init__()
        self.cfg = cfg
        self.n_leads = n_leads
        self.ecg_tower = build_tower(cfg, n_leads)
        self.text_encoder = text_encoder
        if cfg.text_free_layers >= 0:
            text_encoder.freeze(cfg.text_free_layers)
        self.text_projection = nn.Sequential(
            nn.Linear(text_encoder.dim, cfg.projection_dim), nn.GELU(), nn.Linear(cfg.projection_dim, cfg.embed_dim)
        )
        view_dim = self.ecg_tower.view_dim
        self.views = nn.ModuleList(nn.Linear(view_dim, cfg.embed_dim, bias=False) for _ in range(2))
        self.view_dropout = nn.Dropout(cfg.view_dropout)
        for name in ("log_logit_scale", "log_uma_scale"):
            scale = torch.tensor(math.log(cfg.logit_scale_init))
            self.register_parameter(name, nn.Parameter(scale, requires_grad=cfg.learn_logit_scale))
        self.uncertainty = variances(cfg, self.ecg_tower, text_encoder.dim)
        if cfg.sync_batch_norm:
            share_statistics(self.ecg_tower, self.data_parallel_group)
        if cfg.compile:
            trained = list(stacked_layers(text_encoder.model)) if text_encoder.free_layers != 0 else []
            compile_in_training(*self.layers(), *trained, recomputed=cfg.checkpoint_activations)

    @staticmethod
    def data_parallel_group() -> Any | None:
        """The ranks whose statistics are shared; a host puts its own in this place."""
        return None

    @classmethod
    def build_model(cls, cfg: MERLConfig, task: Any = None) -> MERL:
        """The host's way to a model; ``task.loading_checkpoint`` spares the weights a checkpoint overwrites."""
        return cls(cfg, text_encoder_of(cfg, task, pooler=cfg.text_pool == "pooler"))

    @property
    def logit_scale(self) -> Tensor:
        """Inverse temperature of the cross-modal loss."""
        return inverse_temperature(self.log_logit_scale)

    @property
    def text_is_cacheable(self) -> bool:
        """Whether :meth:`text_features` of a text never change, so that they may be computed once."""
        return self.text_encoder.free_layers == 0

    def text_fingerprint(self) -> str:
        """``sha256:…`` of what :meth:`text_features` computes: weights of the text encoder, and how its states are pooled."""
        return self.text_encoder.pooled_fingerprint(self.cfg.text_pool)

    def cacheable_text(self, text: Tensor, text_padding_mask: Tensor | None = None) -> Tensor:
        """:meth:`text_features`."""
        return self.text_features(text, text_padding_mask)

    def embed_text(self, text: Tensor, text_padding_mask: Tensor | None = None) -> Embedding:
        """``text [B, L]`` ids → ``[B, E]`` float32, unit norm; Gaussians where it was trained for uncertainties."""
        return self.embed_text_features(self.text_features(text, text_padding_mask))

    def text_features(self, text: Tensor, text_padding_mask: Tensor | None = None) -> Tensor:
        """The text encoder's vector, which a frozen one gives always anew: ``[B, L]`` ids → ``[B, W]``."""
        return self.text_encoder.pool(text, text_padding_mask, self.cfg.text_pool)

    def embed_text_features(self, features: Tensor) -> Embedding:
        """:meth:`text_features` ``[B, W]`` → ``[B, E]`` float32, unit norm; Gaussians as of :meth:`embed_text`."""
        mean = unit(self.text_projection(features.to(cast(nn.Linear, self.text_projection[0]).weight.dtype)))
        return Embedding(mean, None if self.uncertainty is None else self.uncertainty.text(features))

    def forward(
        self,
        ecg: Tensor,
        text: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
        n_samples: Tensor | None = None,
        lead_mask: Tensor | None = None,
        text_features: Tensor | None = None,
        objectives: Collection[str] = OBJECTIVES,
        class_text: Tensor | None = None,
        class_text_padding_mask: Tensor | None = None,
        hidden_share: float = 0.0,
    ) -> dict[str, Any]:
        """
        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            text: ``[B, L]`` int64 token ids.
            text_padding_mask: ``[B, L]`` bool, True = padding.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            lead_mask: ``[B, 12]`` bool, True = a lead the encoder does not see; None: it sees all.
            text_features: ``[B, W]`` from :meth:`text_features`, in place of ``text``.
            objectives: which outputs are wanted; without ``cma`` no report is read.
            class_text: ``[C, L]`` int64 token ids, a text for each class; for ``label``.
            class_text_padding_mask: ``[C, L]`` bool, True = padding.
            hidden_share: share of the batch that a model with variances reads once more with leads hidden.

        Returns:
            ``ecg_embedding``, ``text_embedding`` ``[B, E]`` float32, unit norm, and ``logit_scale`` for ``cma``; ``view1``,
            ``view2`` ``[B, E]`` of any norm and ``uma_scale`` for ``uma``; ``ecg_embedding``, ``logit_scale`` and
            ``class_embedding`` ``[C, E]`` for ``label``; with variances beside those of ``cma`` what
            :func:`cmelt_plugin.models.common.gaussian_outputs.gaussian_outputs` says.
        """
        if lead_mask is not None:
            ecg = ecg.masked_fill(lead_mask.unsqueeze(-1), 0.0)
        n_hidden = hidden_rows(self.uncertainty, hidden_share, len(ecg))
        tower, hidden = split_hidden(self._read(*with_hidden(ecg, n_hidden, n_samples)), n_hidden)
        out: dict[str, Any] = {}
        if "cma" in objectives:
            if text_features is None:
                if text is None:
                    raise ValueError("neither text nor text_features")
                text_features = self.text_features(text, text_padding_mask)
            text_embedding = self.embed_text_features(text_features)
            out["text_embedding"] = text_embedding.mean
            if self.uncertainty is not None:
                fewer_leads = self._embedded(hidden) if n_hidden else None
                out.update(gaussian_outputs(self.uncertainty, self._embedded(tower), text_embedding, fewer_leads))
        if "label" in objectives:
            if class_text is None:
                raise ValueError("no texts of classes")
            out["class_embedding"] = self.embed_text(class_text, class_text_padding_mask).mean
        if "cma" in objectives or "label" in objectives:
            out["ecg_embedding"] = unit(tower.projected)
            out["logit_scale"] = self.logit_scale
        if "uma" in objectives:
            out["view1"], out["view2"] = (self.view_dropout(view(tower.view_input)) for view in self.views)
            out["uma_scale"] = inverse_temperature(self.log_uma_scale)
        return out
