"""Configuration of the EchoingECG model; sizes are those of the authors' release, other defaults are ours (each says so)."""

from dataclasses import dataclass, field
from typing import ClassVar, Optional

from cmelt_plugin.models.common.text_options import TextEncoderOptions
from cmelt_plugin.models.common.wav2vec_options import Wav2VecOptions


@dataclass
class EchoingConfig(Wav2VecOptions, TextEncoderOptions):
    encoder_sizes: ClassVar[tuple[str, ...]] = (
        "ecg_encoder",
        "ecg_width",
        "ecg_blocks",
        *Wav2VecOptions.wav2vec_sizes,
        "normalisation",
        "lead_statistics",
        "embed_dim",
    )

    ecg_encoder: str = field(
        default="resnet",
        metadata={
            "help": "ECG encoder: resnet (ecg_blocks blocks of two convolutions; release), resnet18 (as MERL's) or wav2vec "
            "(convolutions and a transformer; encoder_… and conv_…)"
        },
    )
    ecg_width: Optional[int] = field(
        default=None,
        metadata={"help": "channels of a residual network's stem; default: as ecg_encoder says (resnet: 96, resnet18: 64)"},
    )
    ecg_blocks: str = field(
        default="3, 4, 23, 3",
        metadata={"help": "blocks of each stage of resnet, whose channels are 2, 4, 8 … times those of the stem"},
    )
    dropout: float = field(default=0.0, metadata={"help": "wav2vec: dropout"})
    attention_dropout: float = field(default=0.0, metadata={"help": "wav2vec: dropout on attention weights"})
    normalisation: str = field(
        default="standardised",
        metadata={
            "help": "standardised: 0.5-40 Hz, 100 Hz, each lead by mean and deviation of the training set (release); none: the "
            "ECG is read in mV at its 500 Hz; centred: so, too, each lead minus its mean over the record; min_max: each record "
            "is scaled to 0..1 over all leads, at 500 Hz"
        },
    )
    lead_statistics: Optional[str] = field(
        default=None,
        metadata={
            "help": "mean and standard deviation of each lead for standardised, in mV, as JSON [[12 numbers], [12 numbers]]; "
            "filled in from the training set"
        },
    )
    sync_batch_norm: bool = field(
        default=True,
        metadata={"help": "batch statistics over the records of all GPUs, so that several train as one would"},
    )
    embed_dim: int = field(
        default=512, metadata={"help": "width of the embeddings, which is that of the teacher (release, EchoCLIP: 512)"}
    )
    text_encoder: str = field(
        default="dmis-lab/biobert-v1.1",
        metadata={"help": "Hugging Face name or local folder of the text encoder (release: BioBERT v1.1)"},
    )
    text_free_layers: int = field(
        default=-1,
        metadata={
            "help": "last layers of the text encoder that train; -1: all of it (release), 0: it is frozen. What is frozen runs "
            "without dropout"
        },
    )
    matching: str = field(
        default="sampled",
        metadata={
            "help": "what decides whether two embeddings match: sampled (closed-form sampled distance of Gaussians; release), "
            "wasserstein (their 2-Wasserstein distance) or info_nce (the cosine of points, with a softmax over the batch)"
        },
    )
    scale_init: Optional[float] = field(
        default=None,
        metadata={
            "help": "factor a on the distance at the start, of each pair of modalities; default: 5 (release), info_nce: 1"
        },
    )
    shift_init: float = field(default=5.0, metadata={"help": "b of the match logit b - a * distance at the start (release: 5)"})
    variance_init: Optional[float] = field(
        default=0.25,
        metadata={
            "help": "sum of an embedding's variances at the start (ours); null: the framework's initialisation, where it is "
            "about embed_dim (release)"
        },
    )
    score: str = field(
        default="cosine",
        metadata={"help": "how embeddings are compared once trained: cosine of means, or distance (minus that of matching)"},
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
