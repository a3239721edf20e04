"""C-MELT's ECG side: what is done with its ECG encoder, in the whole model and alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import COSINE, CosineSimilarity, Embedding, group_means, mixture_log_variance
from cmelt_plugin.models.common.uncertainty_options import uncertainty_heads
from cmelt_plugin.models.common.wav2vec import wav2vec_encoder
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder, EncodedECG
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack
from cmelt_plugin.modules.pooling.tokens import ECG_POOLS, Pooler
from cmelt_plugin.modules.uncertainty import UncertaintyHeads

ENCODER = "ecg_encoder."  # with which the names of its weights begin
SCORES = (COSINE, "product")


class CMELTSide(CosineSimilarity):
    """Base of modules with ``cfg``, ``ecg_encoder``, ``ecg_projection``, ``log_logit_scale``, ``logit_bias`` and
    ``uncertainty`` (None: points).
    """

    pools = ECG_POOLS
    signal = SignalContract()
    cfg: Any
    ecg_encoder: ECGEncoder
    ecg_projection: Pooler
    log_logit_scale: nn.Parameter
    logit_bias: nn.Parameter
    uncertainty: UncertaintyHeads | None

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

    def _token(self, modality: str) -> Tensor | None:
        """The uncertainty token of ``ecg`` or ``text``, where the model has any."""
        return None if self.uncertainty is None else getattr(self.uncertainty, f"{modality}_token")

    def _embedded_ecg(self, encoded: EncodedECG, unit_length: bool) -> Embedding:
        mean = scaled(self.ecg_projection(encoded.states, encoded.padding_mask), unit_length)
        if self.uncertainty is None:
            return Embedding(mean)
        padding = None if encoded.padding_mask is None else encoded.padding_mask[:, 1:]
        return Embedding(mean, self.uncertainty.ecg_log_variance(encoded.states[:, 1:], padding, encoded.query))

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


class CMELTEncoder(CMELTSide, nn.Module):
    """ECG encoder and projection alone, with random weights.

    Args:
        cfg: a ``CMELTConfig``.
    """

    def __init__(self, cfg: Any):
        super().__init__()
        self.cfg = cfg
        self.ecg_encoder = self.build_encoder(cfg)
        self.ecg_projection = Pooler(cfg.encoder_embed_dim, cfg.fusion_dim, "first")
        self.log_logit_scale = nn.Parameter(torch.zeros(()))
        self.logit_bias = nn.Parameter(torch.zeros(()))
        self.uncertainty = variances(cfg)


def variances(cfg: Any, **text: Any) -> UncertaintyHeads | None:
    """The variances that a ``CMELTConfig`` asks for, or None.

    Args:
        cfg: the configuration.
        text: what :class:`~cmelt_plugin.modules.uncertainty.UncertaintyHeads` must know of texts; nothing: ECGs alone are read.
    """
    width = cfg.encoder_embed_dim
    return uncertainty_heads(cfg, cfg.fusion_dim, ecg_width=width, ecg_token=width, **text)


def scaled(embedding: Tensor, unit_length: bool) -> Tensor:
    """``[B, D]`` as it enters a dot product: float32, of unit length or as it is."""
    embedding = embedding.float()
    return nn.functional.normalize(embedding, dim=-1) if unit_length else embedding
