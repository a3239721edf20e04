"""MELP's ECG side: what its authors published on a hub alone, and what the whole model is built on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.common.tower_side import ECGStates, TowerSide
from cmelt_plugin.models.common.uncertainty_options import uncertainty_heads
from cmelt_plugin.models.melp.towers import ECG_POOLS, ECGTower
from cmelt_plugin.modules.contrast import unit
from cmelt_plugin.modules.ecg.feature_extractor import ConvStack
from cmelt_plugin.modules.ecg.length_batch_norm import share_statistics
from cmelt_plugin.modules.uncertainty import PROLIP, UncertaintyHeads


class MELPEncoder(TowerSide, nn.Module):
    """ECG tower and the projection of its beats into the space of embeddings; no texts.

    Args:
        cfg: a ``MELPConfig``.
        n_leads: rows of an ECG.
        alone: whether no text half follows, whose variances would come with those of ECGs.
    """

    ecg_feature_extractor = ConvStack  # a host puts its own in this place
    pools = ECG_POOLS
    uncertainty: UncertaintyHeads | None

    def __init__(self, cfg: Any, n_leads: int = len(LEADS), alone: bool = True):
        super().__init__()
        self.cfg = cfg
        self.n_leads = n_leads
        self.ecg_tower = self.build_encoder(cfg, self.ecg_feature_extractor, n_leads)
        self.uncertainty = variances(cfg, self.ecg_tower) if alone else None
        self.ecg_projection = nn.Linear(cfg.embed_dim, cfg.embed_dim, bias=False)
        if cfg.sync_batch_norm:
            share_statistics(self.ecg_tower, self.data_parallel_group)

    @staticmethod
    def data_parallel_group() -> Any | None:
        """The ranks whose statistics are shared; a host puts its own in this place."""
        return None

    @classmethod
    def build_encoder(cls, cfg: Any, conv_stack: Any = ConvStack, n_leads: int = len(LEADS)) -> ECGTower:
        """The ECG tower alone, with random weights; arguments as :class:`ECGTower`."""
        return ECGTower(cfg, conv_stack, n_leads)

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """``ecg [B, 12, T]`` mV, no lead masked → ``[B, E]`` float32, unit norm: the direction of the mean beat; Gaussians
        where it was trained for uncertainties."""
        return self.read_beats(self.ecg_tower(ecg, n_samples))[1]

    def beats(self, states: ECGStates) -> Tensor:
        """What the contrast pooler's Q queries read of states: ``[B, Q, E]`` float32, of any norm."""
        return self.read_beats(states)[0]

    def read_beats(self, states: ECGStates) -> tuple[Tensor, Embedding]:
        """:meth:`beats` of states, and the embedding they amount to."""
        heads, pool = self.uncertainty, self.ecg_tower.contrast_pool
        read = None
        if heads is None or heads.ecg_token is None:
            found = pool(*states)
        else:
            found, read = pool.with_query(*states, heads.ecg_token)
        beats = self.ecg_projection(found).float()
        mean = unit(beats.mean(1))
        return beats, Embedding(mean, None if heads is None else heads.ecg_log_variance(*states, read))

    @torch.no_grad()
    def beat_attention(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """Where in time each query of the contrast pooler looks: ``[B, Q, T']`` float32, mean over heads, sums of one.

        Step t begins at sample t · :attr:`samples_per_token`. A sentence that attends to the queries by ``alpha [Q]`` looks in
        time by Σ over q of ``alpha[q] · weights[q, t]``.

        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded. Padding has weight 0.
        """
        return self.ecg_tower.contrast_pool.weights(*self.ecg_tower(ecg, n_samples))


def variances(cfg: Any, tower: ECGTower, text_width: int | None = None) -> UncertaintyHeads | None:
    """The variances that a ``MELPConfig`` asks for, or None; without the width of a text's states those of ECGs alone."""
    width = cfg.embed_dim if cfg.uncertainty == PROLIP else tower.dim
    return uncertainty_heads(cfg, cfg.embed_dim, ecg_width=width, text_width=text_width, ecg_token=cfg.embed_dim)
