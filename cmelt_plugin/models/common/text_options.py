"""Settings of the text encoder that every system has."""

from dataclasses import dataclass, field
from typing import Optional


@dataclass
class TextEncoderOptions:
    text_encoder_config: Optional[str] = field(
        default=None,
        metadata={"help": "JSON of the text encoder's configuration; filled in at the start and kept in the checkpoint"},
    )
    text_encoder_pretrained: bool = field(default=True, metadata={"help": "start from the text encoder's pre-trained weights"})
