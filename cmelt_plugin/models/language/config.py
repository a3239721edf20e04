"""Configuration of the language model."""

from dataclasses import dataclass, field
from typing import Optional


@dataclass
class LanguageConfig:
    text_encoder: str = field(
        default="ncbi/MedCPT-Query-Encoder",
        metadata={"help": "Hugging Face name or local folder of the text encoder whose training goes on"},
    )
    text_encoder_config: Optional[str] = field(
        default=None,
        metadata={"help": "JSON of the text encoder's configuration; filled in at the start and kept in the checkpoint"},
    )
    text_encoder_pretrained: bool = field(
        default=True, metadata={"help": "start from the text encoder's weights; False: from random ones of its sizes"}
    )
