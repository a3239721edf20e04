"""EchoingECG: probabilistic ECG–text–echo embeddings (Gao, Kim, McIntosh 2025, MICCAI, arXiv 2509.25791).

Written anew from formulas and shapes.

::

    ecg  → ECG tower ──┬─ mean ──────────┐
                       └─ log-variance ──┼─ N(μ, σ²) ─┬─ match loss, ecg–text
    text → text tower ─┬─ mean ──────────┤            │
                       └─ log-variance ──┘            │
    echo → frozen teacher, read from a file ──────────┴─ match loss, ecg–echo

The model returns a dictionary; the criterion reads it by name and the model does not know it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.common.text_tower import WithTextEncoder, text_encoder_of
from cmelt_plugin.models.echoing.config import EchoingConfig
from cmelt_plugin.models.echoing.ecg_side import MATCHINGS, PAIRS, EchoingSide
from cmelt_plugin.models.echoing.front_end import STANDARDISED, lead_statistics
from cmelt_plugin.modules.compiling import compile_in_training, stacked_layers
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack
from cmelt_plugin.modules.ecg.length_batch_norm import share_statistics
from cmelt_plugin.modules.pooling.gaussian import LogVarianceHead, MeanHead
from cmelt_plugin.modules.text.text_encoder import TextEncoder


class EchoingECG(WithTextEncoder, EchoingSide, nn.Module):
    """The whole pre-training model. Build it with :meth:`build_model`.

    Attributes:
        scale, shift: a and b of the match logit b − a · distance, by pair of modalities; of ``info_nce`` the inverse
            temperature alone.
    """

    ecg_feature_extractor = ConvStack  # a host puts its own in this place

    def __init__(self, cfg: EchoingConfig, text_encoder: TextEncoder, n_leads: int = len(LEADS)):
        super().__init__()
        if cfg.matching not in MATCHINGS:
            raise DataError(f"model.matching must be one of {', '.join(MATCHINGS)}, not {cfg.matching!r}")
        self.cfg = cfg
        self.n_leads = n_leads
        self.choose_score(cfg.score)
        self.ecg_tower = self.build_encoder(cfg, self.ecg_feature_extractor, n_leads)
        self.text_encoder = text_encoder
        if cfg.text_free_layers >= 0:
            text_encoder.freeze(cfg.text_free_layers)
        self.text_mean = MeanHead(text_encoder.dim, cfg.embed_dim)
        self.ecg_log_variance: LogVarianceHead | None = None
        self.text_log_variance: LogVarianceHead | None = None
        if self.gaussian:
            self.ecg_log_variance = LogVarianceHead(self.ecg_tower.dim, cfg.embed_dim, cfg.variance_init)
            self.text_log_variance = LogVarianceHead(text_encoder.dim, cfg.embed_dim, cfg.variance_init)
        scale = cfg.scale_init if cfg.scale_init is not None else 5.0 if self.gaussian else 1.0
        self.scale = nn.ParameterDict({pair: nn.Parameter(torch.tensor(float(scale))) for pair in PAIRS})
        shifts = PAIRS if self.gaussian else ()
        self.shift = nn.ParameterDict({pair: nn.Parameter(torch.tensor(float(cfg.shift_init))) for pair in shifts})
        if cfg.sync_batch_norm:
            share_statistics(self.ecg_tower, self.data_parallel_group)
        if cfg.compile:
            encoder = self.ecg_tower.encoder
            first = [encoder.feature_extractor, *encoder.layers()] if isinstance(encoder, ECGEncoder) else encoder.blocks()
            trained = list(stacked_layers(text_encoder.model)) if text_encoder.free_layers != 0 else []
            compile_in_training(*first, *trained, recomputed=cfg.checkpoint_activations)

    @classmethod
    def measure(cls, cfg: Any, recordings: Callable[[], Iterable[tuple[Tensor, Tensor | None]]]) -> None:
        """Fill in ``lead_statistics``, which is measured on training recordings before the model is built, unless it is given.

        Args:
            cfg: the model's configuration.
            recordings: returns some of them, see :func:`cmelt_plugin.models.echoing.front_end.lead_statistics`.
        """
        if cfg.normalisation == STANDARDISED and cfg.lead_statistics is None:
            cfg.lead_statistics = lead_statistics(recordings())

    @staticmethod
    def data_parallel_group() -> Any | None:
        """The ranks whose statistics are shared; a host puts its own in this place."""
        return None

    @classmethod
    def build_model(cls, cfg: EchoingConfig, task: Any = None) -> EchoingECG:
        """The host's way to a model; ``task.loading_checkpoint`` spares the weights a checkpoint overwrites."""
        return cls(cfg, text_encoder_of(cfg, task))

    def embed_text(self, text: Tensor, text_padding_mask: Tensor | None = None) -> Embedding:
        """``text [B, L]`` ids → B Gaussians float32, their means of unit norm."""
        states = self.text_encoder(text, text_padding_mask)
        log_variance = None if self.text_log_variance is None else self.text_log_variance(states, text_padding_mask)
        return Embedding(self.text_mean(states, text_padding_mask), log_variance)

    def uncertainty_tokens(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """What each token adds to the uncertainty Σ over d of σ_d², to first order: ``[B, T']`` float32.

        A token's part is Σ over d of σ_d² · w(rank of the token in d) · (its log-variance − the mean over tokens): the pooled
        log-variances are sums over tokens, the uncertainty is not. Token t begins at sample t · :attr:`samples_per_token`;
        padding has 0.

        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.

        Raises:
            ValueError: the model's embeddings are points.
        """
        if self.ecg_log_variance is None:
            raise ValueError("model.matching=info_nce: the embeddings are points, which have no variance")
        states, padding = self.ecg_tower(ecg, n_samples)
        tokens = self.ecg_log_variance.projected(states).float()
        weights = self.ecg_log_variance.pool.token_weights(tokens, padding)
        if padding is not None:
            weights = weights.masked_fill(padding.unsqueeze(2), 0.0)
        real = torch.ones_like(tokens[..., :1]) if padding is None else (~padding).unsqueeze(2).float()
        mean = (tokens * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
        log_variance = (weights * tokens).sum(1, keepdim=True)
        return (log_variance.exp() * weights * (tokens - mean) * real).sum(2)

    def forward(
        self,
        ecg: Tensor,
        n_samples: Tensor | None = None,
        text: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
        teacher_mean: Tensor | None = None,
        teacher_log_variance: Tensor | None = None,
    ) -> dict[str, Any]:
        """
        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            text: ``[B, L]`` int64 token ids.
            text_padding_mask: ``[B, L]`` bool, True = padding.
            teacher_mean, teacher_log_variance: ``[B, D]``, Gaussians of the echocardiograms beside the ECGs.

        Returns:
            ``ecg_mean [B, D]`` float32 of unit norm and ``ecg_log_variance [B, D]``; with texts ``text_mean`` and
            ``text_log_variance``, with a teacher ``echo_mean`` and ``echo_log_variance``; and of each pair of modalities that
            is there ``scale_PAIR`` and ``shift_PAIR``. ``matching`` says what these stand before. Points have no
            log-variance and no shift.
        """
        out: dict[str, Any] = {"matching": self.cfg.matching}
        out.update(_named("ecg", self.embed_ecg(ecg, n_samples)))
        if text is not None:
            out.update(_named("text", self.embed_text(text, text_padding_mask)), **self._match("ecg_text"))
        if teacher_mean is not None:
            log_variance = teacher_log_variance if self.gaussian else None
            out.update(_named("echo", Embedding(teacher_mean, log_variance)), **self._match("ecg_echo"))
        return out

    def _match(self, pair: str) -> dict[str, Tensor]:
        return {
            f"{name}_{pair}": values[pair] for name, values in (("scale", self.scale), ("shift", self.shift)) if pair in values
        }


def _named(modality: str, embedding: Embedding) -> dict[str, Tensor]:
    return {f"{modality}_{name}": value for name, value in embedding._asdict().items() if value is not None}
