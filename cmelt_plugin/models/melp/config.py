"""Configuration of the MELP model; sizes are those of the authors' release, other defaults are ours (each says so)."""

from dataclasses import dataclass, field
from typing import ClassVar, Optional

from cmelt_plugin.models.common.text_options import TextEncoderOptions
from cmelt_plugin.models.common.uncertainty_options import UncertaintyOptions
from cmelt_plugin.models.common.wav2vec_options import InitialWeightsOptions, Wav2VecOptions


@dataclass
class MELPConfig(Wav2VecOptions, InitialWeightsOptions, TextEncoderOptions, UncertaintyOptions):
    encoder_sizes: ClassVar[tuple[str, ...]] = (
        "ecg_tower",
        *Wav2VecOptions.wav2vec_sizes,
        "resnet_width",
        "normalisation",
        "embed_dim",
        "n_queries",
        "pool_heads",
    )

    ecg_tower: str = field(
        default="wav2vec",
        metadata={"help": "ECG encoder: wav2vec (convolutions and a transformer; paper) or resnet18 (as MERL's)"},
    )
    resnet_width: int = field(
        default=64, metadata={"help": "channels of the first stage of resnet18; the last has 8 times more"}
    )
    feature_grad_mult: float = field(
        default=0.1, metadata={"help": "factor on the gradient of the ECG feature extractor (release: 0.1); 0 freezes it"}
    )
    normalisation: str = field(
        default="none",
        metadata={
            "help": "none: the ECG is read in mV; centred: in mV, each lead minus its mean over the record, so that constant "
            "offsets are not seen; min_max: each record is scaled to 0..1 over all leads (release), which loses the voltages"
        },
    )
    sync_batch_norm: bool = field(
        default=True,
        metadata={"help": "resnet18: batch statistics over the records of all GPUs, so that several train as one would"},
    )
    embed_dim: int = field(default=256, metadata={"help": "width of the embeddings and of the beats (release: 256)"})
    n_queries: int = field(
        default=14,
        metadata={
            "help": "learned queries of the contrast pooler, which the paper calls beats (published encoder: 14; paper: 10)"
        },
    )
    pool_heads: int = field(default=8, metadata={"help": "attention heads of both poolers (release: 8)"})
    n_caption_queries: int = field(
        default=128, metadata={"help": "learned queries of the caption pooler, which the captioner reads (release: 128)"}
    )
    projection_dim: int = field(default=256, metadata={"help": "hidden width of the text's projection (release: 256)"})
    text_encoder: str = field(
        default="ncbi/MedCPT-Query-Encoder",
        metadata={
            "help": "Hugging Face name or local folder of the text encoder, a BERT or T5 (release: MedCPT-Query-Encoder, "
            "trained further on texts of cardiology)"
        },
    )
    text_free_layers: int = field(
        default=6,
        metadata={
            "help": "last layers of the text encoder that train (release: 6 of 12); -1: all of it trains. What is frozen runs "
            "without dropout"
        },
    )
    text_free_embeddings: bool = field(
        default=False,
        metadata={
            "help": "the token embeddings train although the layers above them are frozen (release), which moves the states of "
            "the frozen layers, too; False: these never change and can be kept"
        },
    )
    text_layout: str = field(
        default="dynamic",
        metadata={
            "help": "dynamic: texts are as long as they need to be, the token that sums up follows the last word; released: "
            "128 tokens, of which it is the last (for published weights; set task.max_text_tokens=127)"
        },
    )
    begin_token: Optional[int] = field(
        default=None,
        metadata={"help": "id of the token before the first word; filled in from the tokenizer (BERT: [CLS]; T5: </s>)"},
    )
    end_token: Optional[int] = field(
        default=None, metadata={"help": "id of the token behind the last word; filled in from the tokenizer ([SEP]; </s>)"}
    )
    summary_token: Optional[int] = field(
        default=None,
        metadata={"help": "id of the token whose state stands for the text; filled in from the tokenizer ([CLS]; </s>)"},
    )
    decoder_layers: int = field(
        default=6, metadata={"help": "layers of the captioner, each of self-attention and cross-attention (release: 6)"}
    )
    decoder_heads: int = field(default=8, metadata={"help": "attention heads of the captioner (release: 8)"})
    decoder_dropout: float = field(default=0.0, metadata={"help": "dropout of the captioner (release: none)"})
    logit_scale_init: float = field(
        default=1 / 0.07, metadata={"help": "inverse temperature of ECG against report at the start (release: 1/0.07)"}
    )
    beat_scale_init: float = field(
        default=10.0, metadata={"help": "inverse temperature of a sentence's attention over beats at the start (ours)"}
    )
    learn_beat_scale: bool = field(
        default=True,
        metadata={"help": "learn that temperature; False: it stays (the local loss's form gloria does not read it)"},
    )
    local_form: Optional[str] = field(
        default=None,
        metadata={
            "help": "form of the local loss it was trained with, beat or gloria, which says where sentences look; filled in "
            "from criterion.local and kept in the checkpoint"
        },
    )
    ecg_only: bool = field(
        default=False,
        metadata={"help": "the ECG side alone, without texts: the encoder its authors published; it cannot be pre-trained"},
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={
            "help": "keep no activations inside the layers of ECG encoder and captioner and compute them again in the backward "
            "pass: less memory, slower"
        },
    )
    compile: bool = field(
        default=False,
        metadata={
            "help": "torch.compile for the layers of encoders and captioner in training; set task.pad_text_to=8 with it, for "
            "every text length is compiled anew"
        },
    )
