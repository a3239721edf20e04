"""EchoingECG's ECG side: what is done with its ECG tower, in the whole model and alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.pcmepp import DISTANCES
from cmelt_plugin.models.base import COSINE, Embedding, group_means, mixture_log_variance
from cmelt_plugin.models.common.tower_side import TowerSide
from cmelt_plugin.models.echoing.towers import ECG_POOLS, ECGTower, resolved_sizes
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack
from cmelt_plugin.modules.pooling.gaussian import LogVarianceHead

PAIRS = ("ecg_text", "ecg_echo")
"""Pairs of modalities that are matched, each with a scale and a shift of its own."""
INFO_NCE = "info_nce"
MATCHINGS = (*DISTANCES, INFO_NCE)
DISTANCE = "distance"
SCORES = (COSINE, DISTANCE)


class EchoingSide(TowerSide):
    """Base of modules with ``cfg``, ``ecg_tower``, ``ecg_log_variance`` (None: points), ``scale`` and ``shift``."""

    pools = ECG_POOLS
    cfg: Any
    ecg_tower: ECGTower
    ecg_log_variance: LogVarianceHead | None
    scale: nn.ParameterDict
    shift: nn.ParameterDict

    @classmethod
    def build_encoder(cls, cfg: Any, conv_stack: Any = ConvStack, n_leads: int = len(LEADS)) -> ECGTower:
        """The ECG tower alone, with random weights; arguments as :class:`ECGTower`."""
        return ECGTower(cfg, conv_stack, n_leads)

    @staticmethod
    def resolved_sizes(cfg: Any) -> dict[str, Any]:
        """Settings of the encoder that ``cfg`` leaves open."""
        return resolved_sizes(cfg)

    @property
    def gaussian(self) -> bool:
        """Whether embeddings are Gaussians; points otherwise."""
        return self.cfg.matching != INFO_NCE

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """``ecg [B, 12, T]`` mV → B Gaussians float32, their means of unit norm."""
        states = self.ecg_tower(ecg, n_samples)
        log_variance = None if self.ecg_log_variance is None else self.ecg_log_variance(*states)
        return Embedding(self.ecg_tower.mean(*states), log_variance)

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


class EchoingEncoder(EchoingSide, nn.Module):
    """ECG tower and log-variances alone, with random weights.

    Args:
        cfg: an ``EchoingConfig``.
    """

    def __init__(self, cfg: Any):
        super().__init__()
        self.cfg = cfg
        self.ecg_tower = self.build_encoder(cfg)
        self.ecg_log_variance = LogVarianceHead(self.ecg_tower.dim, cfg.embed_dim, None) if self.gaussian else None
        self.scale = nn.ParameterDict({pair: nn.Parameter(torch.ones(())) for pair in PAIRS})
        self.shift = nn.ParameterDict({pair: nn.Parameter(torch.zeros(())) for pair in (PAIRS if self.gaussian else ())})
