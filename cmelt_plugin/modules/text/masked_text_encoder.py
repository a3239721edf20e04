"""A Hugging Face text encoder with the head that predicts masked words: BERT, RoBERTa, DeBERTa and others that have one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers, load_model
from cmelt_plugin.modules.text.text_encoder import described_config

logger = logging.getLogger(__name__)

# Where the families keep a head that maps states to logits by itself.
_HEADS = ("cls", "lm_head")


class MaskedTextEncoder(nn.Module):
    """Token ids → logits of the words at masked positions.

    Args:
        description: JSON from :func:`cmelt_plugin.modules.text.text_encoder.describe_text_encoder`.
        pretrained: name or folder to take the weights from; None: random weights. A head that is not there, as of MedCPT,
            begins with random weights (its output layer is the embedding of the words).

    Attributes:
        model: of transformers; its ``save_pretrained`` writes what ``from_pretrained`` of any encoder reads.
        vocab_size: tokens it knows.
        longest_text: most tokens it has positions for; None: any number.
        head_is_new: whether the head began with random weights.

    Raises:
        DataError: its family has no such head, it is a decoder, or its weights cannot be read or do not cover the encoder.
    """

    def __init__(self, description: str, pretrained: str | None = None):
        super().__init__()
        transformers = import_transformers()
        config = described_config(description)
        known = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
        if not known or config.is_encoder_decoder or getattr(config, "is_decoder", False):
            raise DataError(
                f"a {config.model_type} text encoder is not one that predicts masked words both ways, as BERT, RoBERTa and "
                "DeBERTa do; choose another model.text_encoder"
            )
        self.head_is_new = True
        if pretrained is None:
            self.model = transformers.AutoModelForMaskedLM.from_config(config, trust_remote_code=False)
        else:
            with _silent(transformers):
                self.model, info = load_model(transformers.AutoModelForMaskedLM, pretrained, output_loading_info=True)
            body = f"{self.model.base_model_prefix}."
            missing = sorted(key for key in info["missing_keys"] if key.startswith(body))
            if missing or info.get("mismatched_keys"):
                raise DataError(
                    f"{pretrained}: these weights of the text encoder are missing or of another size: "
                    f"{missing + list(info.get('mismatched_keys', []))}"
                )
            self.head_is_new = bool(info["missing_keys"])
            if self.head_is_new:
                logger.warning("%s: has no head for masked words; it begins with random weights", pretrained)
        self.model.float().train()  # folders may hold half precision; a host that wants it casts the whole model
        self.vocab_size = int(config.vocab_size)
        self.longest_text = _longest_text(config)
        self._head = next((name for name in _HEADS if hasattr(self.model, name)), None)

    def forward(self, text: Tensor, padding_mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """
        Args:
            text: ``[B, L]`` int64 ids.
            padding_mask: ``[B, L]`` bool, True = padding; None: nothing is padded.
            positions: ``[M]`` int64, places of the flattened batch; None: all.

        Returns:
            Logits ``[M, V]``, or ``[B * L, V]``. Only those are computed where the family keeps its head apart.
        """
        attend = None if padding_mask is None else (~padding_mask).long()
        if self._head is None:
            logits = self.model(input_ids=text, attention_mask=attend).logits.flatten(0, 1)
            return logits if positions is None else logits.index_select(0, positions)
        states = self.model.base_model(input_ids=text, attention_mask=attend).last_hidden_state.flatten(0, 1)
        head: Any = getattr(self.model, self._head)
        return head(states if positions is None else states.index_select(0, positions))


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """transformers says nothing meanwhile: it calls a folder without a head corrupt."""
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(level)


def _longest_text(config: Any) -> int | None:
    places = getattr(config, "max_position_embeddings", None)
    if not isinstance(places, int) or places < 1:
        return None
    # RoBERTa counts positions from behind the padding's id.
    return places - (config.pad_token_id + 1 if "roberta" in config.model_type else 0)
