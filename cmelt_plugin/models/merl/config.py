"""Configuration of the MERL model; sizes are those of the authors' release, other defaults are ours (each says so)."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional

from cmelt_plugin.models.common.text_options import TextEncoderOptions
from cmelt_plugin.models.common.uncertainty_options import UncertaintyOptions


@dataclass
class MERLConfig(TextEncoderOptions, UncertaintyOptions):
    encoder_sizes: ClassVar[tuple[str, ...]] = (
        *("ecg_encoder", "ecg_width", "ecg_layers", "ecg_heads", "ecg_rate", "normalisation"),
    )
    encoder_training: ClassVar[dict[str, Optional[float]]] = {"dropout": None, "attention_dropout": None}
    encoder_additions: ClassVar[dict[str, Any]] = {"ecg_rate": 500}

    ecg_encoder: str = field(
        default="resnet18",
        metadata={"help": "ECG encoder: resnet18, or vit_tiny, vit_small, vit_middle, vit_base (paper: both kinds)"},
    )
    ecg_width: Optional[int] = field(
        default=None,
        metadata={"help": "channels of the ResNet's first stage (64) or width of the ViT; default: as ecg_encoder says"},
    )
    ecg_layers: Optional[int] = field(
        default=None, metadata={"help": "transformer layers of the ViT; default: as ecg_encoder says (12)"}
    )
    ecg_heads: Optional[int] = field(
        default=None, metadata={"help": "attention heads of the ViT; default: as ecg_encoder says (one per 64 channels)"}
    )
    ecg_rate: int = field(
        default=500,
        metadata={
            "help": "rate in Hz at which the ResNet reads, after a low-pass: 500 (release), 250 or 100, at half or a fifth of "
            "the cost"
        },
    )
    dropout: float = field(default=0.0, metadata={"help": "dropout of the ViT's layers (release: 0)"})
    attention_dropout: float = field(default=0.0, metadata={"help": "dropout on attention weights of the ViT (release: 0)"})
    normalisation: str = field(
        default="none",
        metadata={
            "help": "none: the ECG is read in mV; centred: in mV, each lead minus its mean over the record, so that constant "
            "offsets are not seen; min_max: each record is scaled to 0..1 over all leads (release), which loses the voltages"
        },
    )
    sync_batch_norm: bool = field(
        default=True,
        metadata={"help": "batch statistics over the records of all GPUs, so that several train as one would"},
    )
    embed_dim: int = field(default=256, metadata={"help": "width of the embeddings (release: 256)"})
    projection_dim: int = field(
        default=256, metadata={"help": "hidden width of the text's projection and of the ViT's (release: 256)"}
    )
    attention_pool_heads: int = field(default=4, metadata={"help": "heads of the ResNet's attention pool (release: 4)"})
    view_dropout: float = field(
        default=0.1, metadata={"help": "dropout that makes the two views of an ECG differ (uni-modal alignment; release: 0.1)"}
    )
    text_encoder: str = field(
        default="ncbi/MedCPT-Query-Encoder",
        metadata={"help": "Hugging Face name or local folder of the text encoder (release: MedCPT-Query-Encoder)"},
    )
    text_pool: str = field(
        default="first",
        metadata={
            "help": "what a text is summed up by: first (last state of [CLS], as MedCPT is meant to be read), pooler (BERT's "
            "pooler; release) or mean (last states of real tokens, for encoders without [CLS])"
        },
    )
    text_free_layers: int = field(
        default=0,
        metadata={
            "help": "last layers of the text encoder that train; 0: it is frozen (what the release does, although its "
            "configuration says 6), -1: all of it trains. What is frozen runs without dropout"
        },
    )
    logit_scale_init: float = field(
        default=1 / 0.07, metadata={"help": "inverse temperature of both losses at the start (release: 1/0.07, fixed)"}
    )
    learn_logit_scale: bool = field(
        default=True, metadata={"help": "learn the two inverse temperatures, up to 100 (CLIP); False: they stay (release)"}
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={
            "help": "keep no activations inside the layers of the ECG encoder and compute them again in the backward pass: "
            "less memory, slower"
        },
    )
    compile: bool = field(
        default=False,
        metadata={"help": "torch.compile for the encoders' layers in training; set task.pad_text_to=8 with it"},
    )
