"""Configuration of the C-MELT model; the defaults are the sizes of the paper and its authors' release."""

from dataclasses import dataclass, field
from typing import ClassVar

from cmelt_plugin.models.common.text_options import TextEncoderOptions
from cmelt_plugin.models.common.uncertainty_options import UncertaintyOptions
from cmelt_plugin.models.common.wav2vec_options import InitialWeightsOptions, Wav2VecOptions


@dataclass
class CMELTConfig(Wav2VecOptions, InitialWeightsOptions, TextEncoderOptions, UncertaintyOptions):
    encoder_sizes: ClassVar[tuple[str, ...]] = Wav2VecOptions.wav2vec_sizes

    text_encoder: str = field(
        default="google/flan-t5-base",
        metadata={"help": "Hugging Face name or local folder of the text encoder (paper: Flan-T5-base)"},
    )
    text_pool: str = field(
        default="mean",
        metadata={"help": "pooling of text states: mean (over real tokens) or first (released code; T5 has no CLS token)"},
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout of ECG encoder and fusion module"})
    fusion_dim: int = field(default=768, metadata={"help": "width of the fusion module and of the embeddings"})
    fusion_layers: int = field(default=6, metadata={"help": "cross-modal layers per modality"})
    fusion_heads: int = field(default=12, metadata={"help": "attention heads of the fusion module"})
    fusion_ffn_dim: int = field(default=3072, metadata={"help": "feed-forward width of the fusion module"})
    mem_ratio: float = field(default=0.75, metadata={"help": "share of a record's ECG tokens dropped before the encoder"})
    masked_tokens_in_positions: bool = field(
        default=True,
        metadata={
            "help": "the position embedding of the visible ECG tokens sees the dropped ones, too (the authors' release), which "
            "tells of the signal to be reconstructed; False: it sees zeros in their places"
        },
    )
    mem_layer: int = field(
        default=3, metadata={"help": "the MEM head reads the ECG stream before this fusion layer; -1: after the last"}
    )
    mem_decoder_dim: int = field(default=384, metadata={"help": "width of the MEM decoder (paper: 384)"})
    mem_decoder_layers: int = field(default=4, metadata={"help": "layers of the MEM decoder"})
    mem_decoder_heads: int = field(default=6, metadata={"help": "attention heads of the MEM decoder"})
    mem_decoder_activation: str = field(
        default="gelu",
        metadata={"help": "activation of the MEM decoder: gelu, or quick_gelu (the authors' release): x·σ(1.702 x)"},
    )
    mem_decoder_conv_pos: int = field(
        default=0,
        metadata={
            "help": "kernel in tokens of a convolutional position embedding in the MEM decoder; 0: none (the authors' release)"
        },
    )
    mem_decoder_conv_pos_groups: int = field(default=4, metadata={"help": "groups of that embedding"})
    mem_decoder_zero_output: bool = field(
        default=False,
        metadata={
            "help": "the last layer of the MEM decoder begins at zero, so that the decoder learns first; False: at random (the "
            "authors' release), where the first errors teach a deep encoder to make all tokens alike"
        },
    )
    normalise_embeddings: bool = field(
        default=True, metadata={"help": "unit-norm embeddings (SigLIP); False: raw dot products (paper, equation 4)"}
    )
    score: str = field(
        default="cosine",
        metadata={
            "help": "how evaluation compares ECG and text: cosine, or product, the dot product of raw embeddings; training "
            "follows normalise_embeddings"
        },
    )
    learn_logit_scale: bool = field(
        default=True, metadata={"help": "learn scale and bias of the similarities (SigLIP); False: scale 1, bias 0"}
    )
    logit_scale_init: float = field(default=10.0, metadata={"help": "initial scale (SigLIP: 10)"})
    logit_bias_init: float = field(default=-10.0, metadata={"help": "initial bias (SigLIP: -10)"})
    checkpoint_activations: bool = field(
        default=False,
        metadata={
            "help": "keep no activations inside the layers of ECG encoder, fusion module and MEM decoder and compute them "
            "again in the backward pass: less memory, slower"
        },
    )
    compile: bool = field(
        default=False,
        metadata={
            "help": "torch.compile for the layers of encoders, fusion module and MEM decoder in training; set "
            "task.pad_text_to=8 with it, for every text length is compiled anew"
        },
    )
