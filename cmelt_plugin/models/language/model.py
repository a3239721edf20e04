"""``cmelt_text_mlm``: a text encoder that is trained to predict masked words (Devlin et al. 2019); it knows no ECG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cmelt_plugin.models.common.text_tower import described, fill_in_description
from cmelt_plugin.models.language.config import LanguageConfig
from cmelt_plugin.modules.text.masked_text_encoder import MaskedTextEncoder


class LanguageModel(nn.Module):
    """See :class:`cmelt_plugin.modules.text.masked_text_encoder.MaskedTextEncoder`. Build it with :meth:`build_model`."""

    def __init__(self, cfg: LanguageConfig, text_encoder: MaskedTextEncoder):
        super().__init__()
        self.cfg = cfg
        self.text_encoder = text_encoder

    @classmethod
    def prepare_config(cls, cfg: Any) -> None:
        """Fill in what a checkpoint must hold to be opened without the text encoder's folder."""
        fill_in_description(cfg)

    @classmethod
    def build_model(cls, cfg: Any, task: Any = None) -> LanguageModel:
        """The host's way to a model; ``task.loading_checkpoint`` spares the weights a checkpoint overwrites."""
        description, pretrained = described(cfg, task)
        return cls(cfg, MaskedTextEncoder(description, pretrained))

    @staticmethod
    def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """None: there is no ECG encoder."""
        return {}

    @property
    def vocab_size(self) -> int:
        """Tokens that the text encoder knows."""
        return self.text_encoder.vocab_size

    def forward(
        self, text: Tensor, text_padding_mask: Tensor | None = None, positions: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``logits [M, V]`` of the words at ``positions [M]`` of the flattened ``text [B, L]``.

        Args are those of the text encoder's ``forward``.
        """
        return {"logits": self.text_encoder(text, text_padding_mask, positions)}
