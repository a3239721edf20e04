"""EchoingECG's ECG tower: front end, encoder, and the head whose output is the mean of an embedding."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.echoing.heads import MeanHead
from cmelt_plugin.models.wav2vec import wav2vec_encoder
from cmelt_plugin.modules.band_pass import BandPass
from cmelt_plugin.modules.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.length_batch_norm import zero_padding
from cmelt_plugin.modules.normalisation import NORMALISATIONS, normalise_ecg
from cmelt_plugin.modules.pooling import masked_mean
from cmelt_plugin.modules.resnet1d import ResNet1d

STANDARDISED = "standardised"
RATE = 100.0  # Hz, of standardised ECGs
ECG_POOLS = ("mean", "embedding")
FACTORS = (2, 4, 8, 16)  # channels of each stage as multiples of the stem's
DEFAULT_WIDTHS = {"resnet": 96, "resnet18": 64, "wav2vec": 0}  # of the stem; a wav2vec encoder has none
NO_STATISTICS = "[[], []]"


class ECGStates(NamedTuple):
    """
    Attributes:
        states: ``[B, N, W]``.
        padding_mask: ``[B, N]`` bool, True = padding; None: no record is padded.
    """

    states: Tensor
    padding_mask: Tensor | None


class FrontEnd(nn.Module):
    """What is done to an ECG in mV at 500 Hz before the encoder reads it.

    Args:
        normalisation: ``standardised`` (0.5–40 Hz, 100 Hz, z-scores of each lead) or as
            :func:`cmelt_plugin.modules.normalisation.normalise_ecg`.
        lead_statistics: JSON of means and standard deviations; None: standardised ECGs stay in mV.

    Attributes:
        step: samples at 500 Hz of one that the encoder reads.
        filter: of standardised ECGs, else None.
    """

    def __init__(self, normalisation: str, lead_statistics: str | None = None):
        super().__init__()
        if normalisation not in (*NORMALISATIONS, STANDARDISED):
            raise DataError(
                f"model.normalisation must be one of {', '.join(NORMALISATIONS)} and {STANDARDISED}, not {normalisation!r}"
            )
        self.normalisation = normalisation
        self.filter = BandPass(SAMPLE_RATE, RATE) if normalisation == STANDARDISED else None
        self.step = 1 if self.filter is None else self.filter.step
        self.statistics = _parsed(lead_statistics)

    def forward(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """``ecg [B, 12, T]`` mV, ``n_samples [B]`` real samples → what the encoder reads, and its real samples."""
        if self.filter is None:
            return normalise_ecg(ecg, n_samples, self.normalisation), n_samples
        ecg = self.filter(ecg, n_samples)
        n_samples = None if n_samples is None else self.filter.n_steps(n_samples)
        if self.statistics is None:
            return ecg, n_samples
        mean, deviation = (torch.tensor(values).to(ecg)[:, None] for values in self.statistics)
        return zero_padding((ecg - mean) / deviation, n_samples), n_samples


def _parsed(lead_statistics: str | None) -> tuple[list[float], list[float]] | None:
    """Means and deviations of the leads; None where there are none.

    Raises:
        DataError: the text is not two lists of a number for each lead, of which deviations are positive.
    """
    if lead_statistics in (None, NO_STATISTICS):
        return None
    try:
        mean, deviation = ([float(value) for value in values] for values in json.loads(str(lead_statistics)))
        whole = len(mean) == len(deviation) == len(LEADS) and all(abs(value) < 1e6 for value in mean)
        if whole and all(0 < value < 1e6 for value in deviation):
            return mean, deviation
    except (ValueError, TypeError, RecursionError):
        pass
    raise DataError(
        f"model.lead_statistics must be JSON of {len(LEADS)} means and {len(LEADS)} positive standard deviations, "
        f"not {str(lead_statistics)[:80]!r}"
    )


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
            self.encoder = wav2vec_encoder(cfg, conv_stack, n_leads, class_token=False)
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
