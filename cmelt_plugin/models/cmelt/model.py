"""C-MELT: contrastive masked ECG–language pre-training (paper Figure 1).

::

    ecg  → ECG encoder  → H_x ─┬─ projection g_x → x'  ┐
                               │                       ├─ Siglep
    text → text encoder → H_t ─┼─ projection g_t → t'  ┘
                               └─ fusion ─┬─ MLM head → masked words
                                          ├─ MEM head → masked samples
                                          └─ ETM head → matching or not

The model returns a dictionary; the criteria read it by name and the model knows none of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import COSINE, Embedding
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.models.cmelt.ecg_side import CMELTSide, scaled, variances
from cmelt_plugin.models.cmelt.fusion import Fusion
from cmelt_plugin.models.cmelt.heads import ETMHead, MEMHead, MLMHead
from cmelt_plugin.models.common.ecg_init import load_ecg_encoder
from cmelt_plugin.models.common.gaussian_outputs import gaussian_outputs, hidden_rows, split_hidden, with_hidden
from cmelt_plugin.models.common.text_tower import WithTextEncoder, is_loading, text_encoder_of
from cmelt_plugin.modules.compiling import compile_in_training, repeated_layers
from cmelt_plugin.modules.ecg.ecg_encoder import EncodedECG
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack
from cmelt_plugin.modules.masking import masked_states
from cmelt_plugin.modules.pooling.tokens import Pooler
from cmelt_plugin.modules.text.text_encoder import TextEncoder
from cmelt_plugin.modules.transformer import init_bert_weights
from cmelt_plugin.modules.uncertainty import NONE

logger = logging.getLogger(__name__)

OBJECTIVES = ("mlm", "mem", "etm", "siglep")
N_SAMPLES = 5000  # 10 s at 500 Hz


class CMELT(WithTextEncoder, CMELTSide, nn.Module):
    """The whole pre-training model. Build it with :meth:`build_model`."""

    ecg_feature_extractor = ConvStack  # a host puts its own in this place

    def __init__(self, cfg: CMELTConfig, text_encoder: TextEncoder, n_leads: int = len(LEADS)):
        super().__init__()
        self.cfg = cfg
        self.choose_score(cfg.score)
        self.n_leads = n_leads
        self.ecg_encoder = self.build_encoder(cfg, self.ecg_feature_extractor, n_leads)
        self.text_encoder = text_encoder
        self.ecg_projection = Pooler(cfg.encoder_embed_dim, cfg.fusion_dim, "first")
        self.text_projection = Pooler(text_encoder.dim, cfg.fusion_dim, cfg.text_pool)
        self.fusion = Fusion(
            cfg.encoder_embed_dim,
            text_encoder.dim,
            cfg.fusion_dim,
            cfg.fusion_layers,
            cfg.fusion_heads,
            cfg.fusion_ffn_dim,
            cfg.dropout,
            cfg.mem_layer,
            cfg.checkpoint_activations,
        )
        self.fused_text_pooler = Pooler(cfg.fusion_dim, cfg.fusion_dim, cfg.text_pool)
        self.fused_ecg_pooler = Pooler(cfg.fusion_dim, cfg.fusion_dim, "first")
        n_tokens = self.ecg_encoder.n_tokens(N_SAMPLES)
        self.mlm_head = MLMHead(cfg.fusion_dim, text_encoder.vocab_size)
        self.mem_head = MEMHead(
            cfg.fusion_dim,
            n_tokens,
            self.ecg_encoder.samples_per_token * n_leads,
            cfg.mem_decoder_dim,
            cfg.mem_decoder_layers,
            cfg.mem_decoder_heads,
            cfg.mem_decoder_activation,
            cfg.checkpoint_activations,
            cfg.mem_decoder_conv_pos,
            cfg.mem_decoder_conv_pos_groups,
            cfg.mem_decoder_zero_output,
        )
        self.etm_head = ETMHead(cfg.fusion_dim)
        if cfg.uncertainty != NONE and not cfg.normalise_embeddings:
            raise DataError("model.uncertainty compares means of unit length: set model.normalise_embeddings=true")
        self.uncertainty = variances(cfg, text_width=text_encoder.dim, text_token=text_encoder.dim, text_sequence=True)
        for pooler in (self.ecg_projection, self.text_projection, self.fused_text_pooler, self.fused_ecg_pooler):
            pooler.apply(init_bert_weights)
        log_scale = math.log(cfg.logit_scale_init) if cfg.learn_logit_scale else 0.0
        bias = cfg.logit_bias_init if cfg.learn_logit_scale else 0.0
        self.log_logit_scale = nn.Parameter(torch.tensor(log_scale), requires_grad=cfg.learn_logit_scale)
        self.logit_bias = nn.Parameter(torch.tensor(bias), requires_grad=cfg.learn_logit_scale)
        if cfg.compile:
            stacks = (self.ecg_encoder.encoder, self.text_encoder.model, self.fusion, self.mem_head.decoder)
            layers = [layer for stack in stacks for layer in repeated_layers(stack)]
            compile_in_training(self.ecg_encoder.feature_extractor, *layers)

    @classmethod
    def build_model(cls, cfg: CMELTConfig, task: Any = None) -> CMELT:
        """The host's way to a model; ``task.loading_checkpoint`` spares the weights a checkpoint overwrites."""
        model = cls(cfg, text_encoder_of(cfg, task))
        if cfg.ecg_encoder_init and not is_loading(task):
            load_ecg_encoder(model.ecg_encoder, cfg.ecg_encoder_init, partial=cfg.ecg_encoder_init_partial)
        return model

    @property
    def n_ecg_tokens(self) -> int:
        """Tokens of a 10-second record."""
        return self.ecg_encoder.n_tokens(N_SAMPLES)

    def embed_text(self, ids: Tensor, padding_mask: Tensor | None = None) -> Embedding:
        """``ids [B, L]``, unmasked → ``[B, D]`` float32, of unit length where scores are cosines; Gaussians as of
        :meth:`embed_ecg`."""
        return self._embedded_text(*self._read_text(ids, padding_mask), padding_mask, self.cfg.score == COSINE)

    def forward(
        self,
        ecg: Tensor,
        text: Tensor,
        text_padding_mask: Tensor,
        n_samples: Tensor | None = None,
        lead_mask: Tensor | None = None,
        mem_noise: Tensor | None = None,
        mlm_mask: Tensor | None = None,
        objectives: Collection[str] = OBJECTIVES,
        n_masked_words: int | None = None,
        hidden_share: float = 0.0,
    ) -> dict[str, Any]:
        """
        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            text: ``[B, L]`` int64 token ids, MLM-masked in training.
            text_padding_mask: ``[B, L]`` bool, True = padding.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            lead_mask: ``[B, 12]`` bool, True = a lead the encoder does not see; None: it sees all.
            mem_noise: ``[B, N]`` random integers that decide which ECG tokens are dropped; None: none.
            mlm_mask: ``[B, L]`` bool, True = a position whose word is to be recovered.
            objectives: which outputs are wanted; fusion is skipped when only ``siglep`` is.
            n_masked_words: how many positions ``mlm_mask`` marks, where the caller knows (the length of the targets):
                a GPU need not be waited for then.
            hidden_share: share of the batch that a model with variances reads once more with leads hidden.

        Returns:
            ``ecg_embedding``, ``text_embedding`` ``[B, D]`` float32; ``logit_scale``, ``logit_bias`` scalars;
            ``mlm_logits [masked, V]``; ``mem_prediction [B, N, samples × leads]`` and ``mem_mask [B, N]`` (True =
            dropped and not padding); ``etm_logits [B]``; with variances beside those of ``siglep`` what
            :func:`cmelt_plugin.models.common.gaussian_outputs.gaussian_outputs` says.
        """
        if lead_mask is not None:
            ecg = ecg.masked_fill(lead_mask.unsqueeze(-1), 0.0)
        n_hidden = hidden_rows(self.uncertainty, hidden_share, len(ecg))
        rows, *columns = with_hidden(ecg, n_hidden, n_samples, mem_noise)
        whole: EncodedECG = self.ecg_encoder(rows, *columns, self.cfg.mem_ratio, self._token("ecg"))
        encoded, hidden = split_hidden(whole, n_hidden)
        text_states, text_query = self._read_text(text, text_padding_mask)
        out: dict[str, Any] = {}
        if "siglep" in objectives:
            unit_length = self.cfg.normalise_embeddings
            ecg_embedding = self._embedded_ecg(encoded, unit_length)
            text_embedding = self._embedded_text(text_states, text_query, text_padding_mask, unit_length)
            out["ecg_embedding"], out["text_embedding"] = ecg_embedding.mean, text_embedding.mean
            if self.uncertainty is not None:
                fewer_leads = self._embedded_ecg(hidden, unit_length) if n_hidden else None
                out.update(gaussian_outputs(self.uncertainty, ecg_embedding, text_embedding, fewer_leads))
            out["logit_scale"] = self.logit_scale
            out["logit_bias"] = self.logit_bias.float()
        if not {"mlm", "mem", "etm"} & set(objectives):
            return out
        fused = self.fusion(text_states, encoded.states, text_padding_mask, encoded.padding_mask)
        if "mlm" in objectives and mlm_mask is not None:
            out["mlm_logits"] = self.mlm_head(masked_states(fused.text, mlm_mask, n_masked_words))
        if "mem" in objectives and encoded.mask is not None:
            out["mem_prediction"] = self.mem_head(fused.ecg_for_mem, encoded.mask, encoded.token_padding_mask)
            dropped = encoded.mask.dropped
            out["mem_mask"] = dropped if encoded.token_padding_mask is None else dropped & ~encoded.token_padding_mask
        if "etm" in objectives:
            out["etm_logits"] = self.etm_head(
                self.fused_text_pooler(fused.text, text_padding_mask), self.fused_ecg_pooler(fused.ecg)
            )
        return out

    def _read_text(self, text: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """States of texts ``[B, L, D]``, and of the uncertainty token ``[B, D]``."""
        token = self._token("text")
        if token is None:
            return self.text_encoder(text, padding_mask), None
        return self.text_encoder.with_query(text, padding_mask, token)

    def _embedded_text(self, states: Tensor, query: Tensor | None, padding_mask: Tensor | None, unit_length: bool) -> Embedding:
        mean = scaled(self.text_projection(states, padding_mask), unit_length)
        if self.uncertainty is None:
            return Embedding(mean)
        return Embedding(mean, self.uncertainty.text_log_variance(states, padding_mask, query))
