"""EchoingECG's ECG tower: front end, encoder, and the head whose output is the mean of an embedding."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.common.tower_side import ECGStates
from cmelt_plugin.models.common.wav2vec import wav2vec_encoder
from cmelt_plugin.models.echoing.front_end import NO_STATISTICS, FrontEnd
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.ecg.resnet1d import ResNet1d
from cmelt_plugin.modules.pooling.gaussian import MeanHead
from cmelt_plugin.modules.pooling.tokens import masked_mean

ECG_POOLS = ("mean", "embedding")
FACTORS = (2, 4, 8, 16)  # channels of each stage as multiples of the stem's
DEFAULT_WIDTHS = {"resnet": 96, "resnet18": 64, "wav2vec": 0}  # of the stem; a wav2vec encoder has none


def parse_blocks(text: str) -> tuple[int, ...]:
    """``"3, 4, 23, 3"`` → the blocks of each stage.

    Raises:
        DataError: it is no list of at most four positive numbers.
    """
    try:
        blocks = tuple(int(part) for part in str(text).split(","))
    except ValueError:
        blocks = ()
    if not 1 <= len(blocks) <= len(FACTORS) or not all(1 <= n <= 64 for n in blocks):
        raise DataError(f"model.ecg_blocks must be up to {len(FACTORS)} numbers like '3, 4, 23, 3', not {str(text)[:80]!r}")
    return blocks


def resolved_sizes(cfg: Any) -> dict[str, Any]:
    """Settings of the encoder that ``cfg`` leaves open."""
    return {
        "ecg_width": cfg.ecg_width or DEFAULT_WIDTHS[cfg.ecg_encoder],
        "lead_statistics": cfg.lead_statistics or NO_STATISTICS,
    }


class ECGTower(nn.Module):
    """ECG → states of N steps in time; and the mean of its Gaussian.

    Args:
        cfg: anything with the settings of ``EchoingConfig.encoder_sizes`` and ``EchoingConfig.encoder_training``; of a
            classifier also ``pool``, the only pool whose weights then train.
        conv_stack: makes the stack of convolutions of a wav2vec encoder.
        n_leads: rows of an ECG.

    Attributes:
        dim: width of the states.
        width: of the features of ``cfg.pool``, or else of the first pool.

    Raises:
        DataError: there is no such encoder.
    """

    def __init__(self, cfg: Any, conv_stack: Any, n_leads: int):
        super().__init__()
        if cfg.ecg_encoder not in DEFAULT_WIDTHS:
            raise DataError(f"model.ecg_encoder must be one of {', '.join(DEFAULT_WIDTHS)}, not {cfg.ecg_encoder!r}")
        self.front_end = FrontEnd(cfg.normalisation, cfg.lead_statistics)
        self.signal = SignalContract(normalisation=cfg.normalisation)
        width, recompute = resolved_sizes(cfg)["ecg_width"], getattr(cfg, "checkpoint_activations", False)
        self.encoder: ECGEncoder | ResNet1d
        if cfg.ecg_encoder == "resnet":
            blocks = parse_blocks(cfg.ecg_blocks)
            self.encoder = ResNet1d(n_leads, width, blocks, recompute, FACTORS)
        elif cfg.ecg_encoder == "resnet18":
            self.encoder = ResNet1d(n_leads, width, recompute=recompute)
        else:
            self.encoder = wav2vec_encoder(cfg, conv_stack, n_leads, self.front_end.step, class_token=False)
        self.dim = self.encoder.dim if isinstance(self.encoder, ResNet1d) else self.encoder.width
        self.mean = MeanHead(self.dim, cfg.embed_dim)
        pool = getattr(cfg, "pool", None) or ECG_POOLS[0]
        self.width = self.dim if pool == "mean" else cfg.embed_dim
        if hasattr(cfg, "pool") and pool == "mean":
            self.mean.requires_grad_(False)

    @property
    def samples_per_token(self) -> int:
        """Samples at 500 Hz from one step in time to the next."""
        return self.encoder.samples_per_token * self.front_end.step

    def layers(self) -> list[nn.Module]:
        """Layers from input to output, the head last."""
        encoder = self.encoder
        return [*(encoder.blocks() if isinstance(encoder, ResNet1d) else encoder.layers()), self.mean]

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> ECGStates:
        """``ecg [B, 12, T]`` float32 mV at 500 Hz, ``n_samples [B]`` real samples per record (None: none is padded)."""
        ecg, n_samples = self.front_end(ecg, n_samples)
        if isinstance(self.encoder, ResNet1d):
            return ECGStates(*self.encoder.states(ecg, n_samples))
        encoded = self.encoder(ecg, n_samples)
        return ECGStates(encoded.states, encoded.padding_mask)

    def features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str = ECG_POOLS[0]) -> Tensor:
        """``ecg [B, 12, T]`` mV → features.

        Args:
            ecg, n_samples: as :meth:`forward`.
            pool: ``mean`` of the states over real time, ``[B, dim]``; or ``embedding``, the Gaussian's, ``[B, embed_dim]``.

        Raises:
            ValueError: another ``pool``.
        """
        if pool not in ECG_POOLS:
            raise ValueError(f"pool must be one of {', '.join(ECG_POOLS)}, not {pool!r}")
        states = self(ecg, n_samples)
        return masked_mean(*states) if pool == "mean" else self.mean(*states)
