"""Configuration of the classifier on a pre-trained ECG encoder."""

from dataclasses import dataclass, field
from typing import Optional


@dataclass
class ClassifierConfig:
    pretrained: Optional[str] = field(
        default=None,
        metadata={
            "help": "where the ECG encoder comes from: a checkpoint of this plugin, an exported folder or published weights; "
            "null: random weights and the sizes below"
        },
    )
    pool: str = field(
        default="cls", metadata={"help": "features from token states: cls (first state) or mean (over real tokens)"}
    )
    head_dropout: float = field(default=0.0, metadata={"help": "dropout on the features before the linear layer"})
    freeze: str = field(
        default="none", metadata={"help": "none: everything is trained; encoder: the linear layer alone (linear probe)"}
    )
    freeze_updates: int = field(
        default=0, metadata={"help": "updates in which only the linear layer is trained; the encoder follows after them"}
    )
    # Filled in by the task.
    num_classes: int = field(default=0, metadata={"help": "outputs; filled in from the manifest"})
    class_names: list[str] = field(
        default_factory=list, metadata={"help": "names of the outputs in order; filled in from the manifest"}
    )
    # Filled in from `pretrained`, so that a checkpoint of the classifier stands alone.
    conv_feature_layers: Optional[str] = field(
        default=None, metadata={"help": "ECG feature extractor; null: that of the pre-trained encoder, or the paper's"}
    )
    conv_pos: Optional[int] = field(default=None, metadata={"help": "kernel of the convolutional position embedding"})
    conv_pos_groups: Optional[int] = field(default=None, metadata={"help": "groups of the convolutional position embedding"})
    encoder_embed_dim: Optional[int] = field(default=None, metadata={"help": "width of the ECG encoder"})
    encoder_layers: Optional[int] = field(default=None, metadata={"help": "transformer layers of the ECG encoder"})
    encoder_attention_heads: Optional[int] = field(default=None, metadata={"help": "attention heads of the ECG encoder"})
    encoder_ffn_embed_dim: Optional[int] = field(default=None, metadata={"help": "feed-forward width of the ECG encoder"})
    # May differ from pre-training.
    dropout: Optional[float] = field(
        default=None, metadata={"help": "dropout of the ECG encoder; null: as in pre-training (from scratch: 0.1)"}
    )
    attention_dropout: Optional[float] = field(
        default=None, metadata={"help": "dropout on its attention weights; null: as in pre-training (from scratch: 0.1)"}
    )
    feature_grad_mult: float = field(
        default=1.0, metadata={"help": "factor on the gradient of the ECG feature extractor; 0 freezes it"}
    )
