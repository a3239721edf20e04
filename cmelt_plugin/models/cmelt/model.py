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
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import COSINE, CosineSimilarity, Embedding, group_means, mixture_log_variance
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.models.cmelt.fusion import Fusion
from cmelt_plugin.models.cmelt.heads import ETMHead, MEMHead, MLMHead
from cmelt_plugin.models.ecg_init import load_ecg_encoder
from cmelt_plugin.models.gaussian_outputs import gaussian_outputs, hidden_rows, split_hidden, with_hidden
from cmelt_plugin.models.text_tower import WithTextEncoder, is_loading, text_encoder_of
from cmelt_plugin.models.uncertainty_options import uncertainty_heads
from cmelt_plugin.models.wav2vec import wav2vec_encoder
from cmelt_plugin.modules.compiling import compile_in_training, repeated_layers
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder, EncodedECG
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack
from cmelt_plugin.modules.masking import masked_states
from cmelt_plugin.modules.pooling.tokens import ECG_POOLS, Pooler
from cmelt_plugin.modules.text.text_encoder import TextEncoder
from cmelt_plugin.modules.transformer import init_bert_weights
from cmelt_plugin.modules.uncertainty import NONE

logger = logging.getLogger(__name__)

OBJECTIVES = ("mlm", "mem", "etm", "siglep")
N_SAMPLES = 5000  # 10 s at 500 Hz
ENCODER = "ecg_encoder."  # with which the names of its weights begin
SCORES = (COSINE, "product")


class CMELT(WithTextEncoder, CosineSimilarity, nn.Module):
    """The whole pre-training model. Build it with :meth:`build_model`."""

    ecg_feature_extractor = ConvStack  # a host puts its own in this place
    pools = ECG_POOLS
    signal = SignalContract()

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
        self.uncertainty = uncertainty_heads(
            cfg,
            cfg.fusion_dim,
            ecg_width=cfg.encoder_embed_dim,
            text_width=text_encoder.dim,
            ecg_token=cfg.encoder_embed_dim,
            text_token=text_encoder.dim,
            text_sequence=True,
        )
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

    @classmethod
    def build_encoder(cls, cfg: Any, conv_stack: Any = ConvStack, n_leads: int = len(LEADS)) -> ECGEncoder:
        """The ECG encoder alone, with random weights.

        Args:
            cfg: anything with the settings of :attr:`CMELTConfig.encoder_sizes` and :attr:`CMELTConfig.encoder_training`; of a
                whole model also those of masking.
            conv_stack: makes the stack of convolutions.
            n_leads: rows of an ECG.
        """
        in_positions = getattr(cfg, "masked_tokens_in_positions", True)
        return wav2vec_encoder(cfg, conv_stack, n_leads, masked_tokens_in_positions=in_positions)

    @staticmethod
    def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the weights of a whole model those of the ECG encoder, under its names."""
        return {name[len(ENCODER) :]: tensor for name, tensor in state.items() if name.startswith(ENCODER)}

    @property
    def n_ecg_tokens(self) -> int:
        """Tokens of a 10-second record."""
        return self.ecg_encoder.n_tokens(N_SAMPLES)

    @property
    def logit_scale(self) -> Tensor:
        return self.log_logit_scale.float().exp()

    @property
    def score(self) -> str:
        return self.cfg.score

    def choose_score(self, score: str) -> None:
        """Compare ECG and text by their cosine or by the product of raw embeddings, whatever training compares."""
        if score not in SCORES:
            raise DataError(f"model.score must be one of {', '.join(SCORES)}, not {score!r}")
        self.cfg.score = score

    def layers(self) -> list[nn.Module]:
        """Transformer layers of the ECG encoder, from input to output."""
        return self.ecg_encoder.layers()

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None) -> Tensor:
        """``ecg [B, 12, T]`` mV → pooled states of the ECG encoder ``[B, D]`` float32, before any projection."""
        return self.ecg_encoder.features(ecg, n_samples, pool or self.pools[0]).float()

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """``ecg [B, 12, T]`` mV, unmasked → ``[B, D]`` float32, of unit length where scores are cosines; Gaussians where it was
        trained for uncertainties."""
        return self._embedded_ecg(self.ecg_encoder(ecg, n_samples, query=self._token("ecg")), self.cfg.score == COSINE)

    def embed_text(self, ids: Tensor, padding_mask: Tensor | None = None) -> Embedding:
        """``ids [B, L]``, unmasked → ``[B, D]`` float32, of unit length where scores are cosines; Gaussians as of
        :meth:`embed_ecg`."""
        return self._embedded_text(*self._read_text(ids, padding_mask), padding_mask, self.cfg.score == COSINE)

    def ensemble(self, texts: Embedding, group: Tensor, n_groups: int) -> Embedding:
        """Of cosines as in :class:`CosineSimilarity`; of products the mean, whose score is the mean of the texts' scores."""
        if self.cfg.score == COSINE:
            return super().ensemble(texts, group, n_groups)
        centre = group_means(texts.mean, group, n_groups)
        if texts.log_variance is None:
            return Embedding(centre)
        return Embedding(centre, mixture_log_variance(texts.mean, texts.log_variance, centre, group))

    def match_probability(self, similarity: Tensor) -> Tensor | None:
        """σ(scale · s + bias), as the contrastive loss takes it; None without a learned scale, or where scores are not what
        training compared. A probability among the pairs of a training batch, not calibrated to how often a diagnosis is right.
        """
        if not self.cfg.learn_logit_scale or (self.cfg.score == COSINE) != self.cfg.normalise_embeddings:
            return None
        return torch.sigmoid(float(self.logit_scale.detach()) * similarity + float(self.logit_bias.detach()))

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
            :func:`cmelt_plugin.models.gaussian_outputs.gaussian_outputs` says.
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

    def _token(self, modality: str) -> Tensor | None:
        """The uncertainty token of ``ecg`` or ``text``, where the model has any."""
        return None if self.uncertainty is None else getattr(self.uncertainty, f"{modality}_token")

    def _read_text(self, text: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """States of texts ``[B, L, D]``, and of the uncertainty token ``[B, D]``."""
        token = self._token("text")
        if token is None:
            return self.text_encoder(text, padding_mask), None
        return self.text_encoder.with_query(text, padding_mask, token)

    def _embedded_ecg(self, encoded: EncodedECG, unit_length: bool) -> Embedding:
        mean = scaled(self.ecg_projection(encoded.states, encoded.padding_mask), unit_length)
        if self.uncertainty is None:
            return Embedding(mean)
        padding = None if encoded.padding_mask is None else encoded.padding_mask[:, 1:]
        return Embedding(mean, self.uncertainty.ecg_log_variance(encoded.states[:, 1:], padding, encoded.query))

    def _embedded_text(self, states: Tensor, query: Tensor | None, padding_mask: Tensor | None, unit_length: bool) -> Embedding:
        mean = scaled(self.text_projection(states, padding_mask), unit_length)
        if self.uncertainty is None:
            return Embedding(mean)
        return Embedding(mean, self.uncertainty.text_log_variance(states, padding_mask, query))


def scaled(embedding: Tensor, unit_length: bool) -> Tensor:
    """``[B, D]`` as it enters a dot product: float32, of unit length or as it is."""
    embedding = embedding.float()
    return nn.functional.normalize(embedding, dim=-1) if unit_length else embedding
