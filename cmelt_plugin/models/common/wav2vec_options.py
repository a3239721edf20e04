"""Settings of the wav2vec-style ECG encoder, of every system that has it; defaults are the releases' common sizes."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional


@dataclass
class Wav2VecOptions:
    """
    Attributes:
        wav2vec_sizes: settings that decide on weights or on what is computed from them.
        encoder_additions: those of them that checkpoints of earlier versions lack.
        encoder_training: as :class:`cmelt_plugin.models.base.ECGModel` says.
    """

    wav2vec_sizes: ClassVar[tuple[str, ...]] = (
        "conv_feature_layers",
        "extractor_mode",
        "amplitude_embedding",
        "conv_pos",
        "conv_pos_groups",
        "encoder_embed_dim",
        "encoder_layers",
        "encoder_attention_heads",
        "encoder_ffn_embed_dim",
    )
    encoder_additions: ClassVar[dict[str, Any]] = {"extractor_mode": "default", "amplitude_embedding": False}
    encoder_training: ClassVar[dict[str, Optional[float]]] = {
        "dropout": None,
        "attention_dropout": None,
        "feature_grad_mult": 1.0,
    }

    conv_feature_layers: str = field(
        default="[(256, 2, 2)] * 4",
        metadata={"help": "wav2vec encoder: feature extractor as [(channels, kernel, stride), …], optionally times a number"},
    )
    extractor_mode: str = field(
        default="default",
        metadata={
            "help": "wav2vec encoder, norms of its convolutions: default (group norm over the recording after the first, which "
            "removes the amplitude), layer_norm (over channels after each, with biases: wav2vec 2.0's other mode) or fixed "
            "(learned factors and biases, no statistic of the recording)"
        },
    )
    amplitude_embedding: bool = field(
        default=False,
        metadata={
            "help": "wav2vec encoder: logarithms of each lead's amplitudes, projected and added to all tokens; flat, hidden or "
            "missing leads add nothing"
        },
    )
    conv_pos: int = field(
        default=128, metadata={"help": "wav2vec encoder: kernel of the convolutional position embedding, in tokens"}
    )
    conv_pos_groups: int = field(
        default=16, metadata={"help": "wav2vec encoder: groups of the convolutional position embedding"}
    )
    encoder_embed_dim: int = field(default=768, metadata={"help": "wav2vec encoder: width"})
    encoder_layers: int = field(default=8, metadata={"help": "wav2vec encoder: transformer layers (C-MELT's paper: 8)"})
    encoder_attention_heads: int = field(default=12, metadata={"help": "wav2vec encoder: attention heads"})
    encoder_ffn_embed_dim: int = field(default=3072, metadata={"help": "wav2vec encoder: feed-forward width"})
    dropout: float = field(default=0.1, metadata={"help": "wav2vec encoder: dropout"})
    attention_dropout: float = field(default=0.1, metadata={"help": "wav2vec encoder: dropout on attention weights"})
    feature_grad_mult: float = field(
        default=1.0,
        metadata={
            "help": "wav2vec encoder: factor on the gradient of the feature extractor (MELP's release: 0.1); 0 freezes it"
        },
    )


@dataclass
class InitialWeightsOptions:
    """Of systems whose wav2vec-style encoder may start from another model's weights (:mod:`.ecg_init`)."""

    initial_weights: ClassVar[tuple[str, ...]] = ("ecg_encoder_init",)

    ecg_encoder_init: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoint of a wav2vec 2.0 / CMSC ECG model (fairseq-signals) to start the ECG encoder from"},
    )
    ecg_encoder_init_partial: bool = field(
        default=False, metadata={"help": "accept an ecg_encoder_init that leaves weights unset (they are listed)"}
    )
