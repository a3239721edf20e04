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

from collections.abc import Iterable, Mapping
from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.pcmepp import DISTANCES
from cmelt_plugin.models.base import COSINE, CosineSimilarity, Embedding, group_means, mixture_log_variance
from cmelt_plugin.models.echoing.config import EchoingConfig
from cmelt_plugin.models.echoing.front_end import STANDARDISED, lead_statistics
from cmelt_plugin.models.echoing.towers import ECG_POOLS, ECGTower, resolved_sizes
from cmelt_plugin.models.text_tower import WithTextEncoder, text_encoder_of
from cmelt_plugin.modules.compiling import compile_in_training, stacked_layers
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack
from cmelt_plugin.modules.ecg.length_batch_norm import share_statistics
from cmelt_plugin.modules.pooling.gaussian import LogVarianceHead, MeanHead
from cmelt_plugin.modules.text.text_encoder import TextEncoder

PAIRS = ("ecg_text", "ecg_echo")
"""Pairs of modalities that are matched, each with a scale and a shift of its own."""
INFO_NCE = "info_nce"
MATCHINGS = (*DISTANCES, INFO_NCE)
DISTANCE = "distance"
SCORES = (COSINE, DISTANCE)
TOWER = "ecg_tower."  # with which the names of the ECG tower's weights begin


class EchoingECG(WithTextEncoder, CosineSimilarity, nn.Module):
    """The whole pre-training model. Build it with :meth:`build_model`.

    Attributes:
        scale, shift: a and b of the match logit b − a · distance, by pair of modalities; of ``info_nce`` the inverse
            temperature alone.
    """

    ecg_feature_extractor = ConvStack  # a host puts its own in this place
    pools = ECG_POOLS

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

    @classmethod
    def build_encoder(cls, cfg: Any, conv_stack: Any = ConvStack, n_leads: int = len(LEADS)) -> ECGTower:
        """The ECG tower alone, with random weights; arguments as :class:`ECGTower`."""
        return ECGTower(cfg, conv_stack, n_leads)

    @staticmethod
    def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the weights of a whole model those of :meth:`build_encoder`, under its names."""
        return {name[len(TOWER) :]: tensor for name, tensor in state.items() if name.startswith(TOWER)}

    @staticmethod
    def resolved_sizes(cfg: Any) -> dict[str, Any]:
        """Settings of the encoder that ``cfg`` leaves open."""
        return resolved_sizes(cfg)

    @property
    def gaussian(self) -> bool:
        """Whether embeddings are Gaussians; points otherwise."""
        return self.cfg.matching != INFO_NCE

    @property
    def signal(self) -> SignalContract:
        """The ECGs it was trained on, and what it does to them."""
        return self.ecg_tower.signal

    @property
    def samples_per_token(self) -> int:
        """Samples from one of the tokens to the next, of those that :meth:`uncertainty_tokens` speaks of."""
        return self.ecg_tower.samples_per_token

    def layers(self) -> list[nn.Module]:
        """Layers of the ECG tower, first to last."""
        return self.ecg_tower.layers()

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None) -> Tensor:
        """What linear probes are trained on: ``ecg [B, 12, T]`` mV → ``[B, width]`` float32, see :meth:`ECGTower.features`.

        Raises:
            ValueError: another ``pool`` than those of :attr:`pools`.
        """
        return self.ecg_tower.features(ecg, n_samples, pool or self.pools[0]).float()

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """``ecg [B, 12, T]`` mV → B Gaussians float32, their means of unit norm."""
        states = self.ecg_tower(ecg, n_samples)
        log_variance = None if self.ecg_log_variance is None else self.ecg_log_variance(*states)
        return Embedding(self.ecg_tower.mean(*states), log_variance)

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

    @property
    def score(self) -> str:
        """How embeddings are compared; results name it."""
        return self.cfg.score

    def choose_score(self, score: str) -> None:
        """Compare by the cosine of means or by ``distance``, minus the distance that training matched by.

        Raises:
            DataError: there is no such score, or embeddings are points.
        """
        if score not in SCORES:
            raise DataError(f"model.score must be one of {', '.join(SCORES)}, not {score!r}")
        if score == DISTANCE and not self.gaussian:
            raise DataError("model.score=distance: with model.matching=info_nce embeddings are points; use cosine")
        self.cfg.score = score

    def similarity(self, ecg: Embedding, text: Embedding) -> Tensor:
        """``[A, B]``; of two modalities or of one, a teacher's echoes among them."""
        if self.cfg.score == COSINE or ecg.log_variance is None or text.log_variance is None:
            return super().similarity(ecg, text)
        return -DISTANCES[self.cfg.matching](ecg.mean, ecg.log_variance, text.mean, text.log_variance)

    def ensemble(self, texts: Embedding, group: Tensor, n_groups: int) -> Embedding:
        """The mean of the means of a group, of unit length again, with the variance of the mixture around the mean itself
        (law of total variance)."""
        centre = group_means(texts.mean, group, n_groups)
        if texts.log_variance is None:
            return super().ensemble(texts, group, n_groups)
        return Embedding(F.normalize(centre, dim=-1), mixture_log_variance(texts.mean, texts.log_variance, centre, group))

    def match_probability(self, similarity: Tensor, pair: str = PAIRS[0]) -> Tensor | None:
        """σ(b − a · distance) of similarities that are minus distances; of cosines None.

        A probability among the pairs of a training batch, not calibrated to how often a diagnosis is right.
        """
        if self.cfg.score != DISTANCE:
            return None
        return torch.sigmoid(self.scale[pair].detach().float() * similarity + self.shift[pair].detach().float())

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
