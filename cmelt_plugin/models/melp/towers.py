"""MELP's ECG tower: encoder, and the contrast pooler whose queries the paper calls beats."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.common.tower_side import ECGStates
from cmelt_plugin.models.common.wav2vec import wav2vec_encoder
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.ecg.normalisation import normalise_ecg
from cmelt_plugin.modules.ecg.resnet1d import ResNet1d
from cmelt_plugin.modules.pooling.learned_queries import AttentionalPooler
from cmelt_plugin.modules.pooling.tokens import masked_mean

TOWERS = ("wav2vec", "resnet18")
ECG_POOLS = ("queries", "mean")


class ECGTower(nn.Module):
    """ECG → states of N steps in time, and what the Q queries of the contrast pooler read in them.

    Args:
        cfg: anything with the settings of ``MELPConfig.encoder_sizes`` and ``MELPConfig.encoder_training``; of a classifier
            also ``pool``, the only pool whose weights then train.
        conv_stack: makes the stack of convolutions.
        n_leads: rows of an ECG.

    Attributes:
        dim: width of the states.
        width: of the features of ``cfg.pool``, or else of the first pool.

    Raises:
        DataError: there is no such encoder.
    """

    def __init__(self, cfg: Any, conv_stack: Any, n_leads: int):
        super().__init__()
        if cfg.ecg_tower not in TOWERS:
            raise DataError(f"model.ecg_tower must be one of {', '.join(TOWERS)}, not {cfg.ecg_tower!r}")
        self.normalisation: str = cfg.normalisation
        self.signal = SignalContract(normalisation=cfg.normalisation)
        self.encoder: ECGEncoder | ResNet1d
        self.conv: nn.Conv1d | None = None
        if cfg.ecg_tower == "resnet18":
            self.encoder = ResNet1d(n_leads, cfg.resnet_width, recompute=getattr(cfg, "checkpoint_activations", False))
            self.conv = nn.Conv1d(self.encoder.dim, cfg.embed_dim, 1)
            self.dim = cfg.embed_dim
        else:
            self.encoder = wav2vec_encoder(cfg, conv_stack, n_leads, class_token=False)
            self.dim = cfg.encoder_embed_dim
        self.contrast_pool = AttentionalPooler(cfg.n_queries, cfg.embed_dim, self.dim, cfg.pool_heads)
        pool = getattr(cfg, "pool", None) or ECG_POOLS[0]
        self.width = cfg.embed_dim if pool == "queries" else self.dim
        if pool != "queries":
            self.contrast_pool.requires_grad_(False)

    @property
    def samples_per_token(self) -> int:
        """Samples from one step in time to the next."""
        return self.encoder.samples_per_token

    def layers(self) -> list[nn.Module]:
        """Layers from input to output, the contrast pooler last."""
        encoder = self.encoder
        return [*(encoder.blocks() if isinstance(encoder, ResNet1d) else encoder.layers()), self.contrast_pool]

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None, lead_mask: Tensor | None = None) -> ECGStates:
        """
        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            lead_mask: ``[B, 12]`` bool, True = a lead that is zeroed, after whatever is done to amplitudes; None: none is.
        """
        ecg = normalise_ecg(ecg, n_samples, self.normalisation)
        if lead_mask is not None:
            ecg = ecg.masked_fill(lead_mask.unsqueeze(-1), 0.0)
        if isinstance(self.encoder, ResNet1d):
            assert self.conv is not None
            states, padding = self.encoder.states(ecg, n_samples)
            if padding is not None:
                padding[:, 0] = False  # a record of no samples counts nowhere, but has something to attend to
            return ECGStates(self.conv(states.transpose(1, 2)).transpose(1, 2), padding)
        encoded = self.encoder(ecg, n_samples)
        return ECGStates(encoded.states, encoded.padding_mask)

    def features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str = ECG_POOLS[0]) -> Tensor:
        """``ecg [B, 12, T]`` mV → features before any projection.

        Args:
            ecg, n_samples: as :meth:`forward`.
            pool: ``queries``, the mean of what the contrast pooler's queries read, ``[B, embed_dim]`` (the release's linear
                probe); or ``mean`` of the states over real time, ``[B, dim]``.

        Raises:
            ValueError: another ``pool``.
        """
        if pool not in ECG_POOLS:
            raise ValueError(f"pool must be one of {', '.join(ECG_POOLS)}, not {pool!r}")
        encoded = self(ecg, n_samples)
        return masked_mean(*encoded) if pool == "mean" else self.contrast_pool(*encoded).mean(1)
