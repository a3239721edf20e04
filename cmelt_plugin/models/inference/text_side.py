"""The text encoder of a trained model: its tokenizer, and embeddings of texts and classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.text.normal_form import normalise_report
from cmelt_plugin.data.text.padding import MAX_TEXT_TOKENS
from cmelt_plugin.data.text.tokenizer import decode, encode, load_tokenizer, tokenizer_fingerprint
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.files.opened_model import OpenedModel
from cmelt_plugin.models.inference.scoring import embed_classes, embed_texts

Prompts = Mapping[str, Sequence[str]]


class TextSide(OpenedModel):
    """A model that may read texts; one that does not says so when it is asked to.

    Attributes:
        tokenizer_source: folder or name of the tokenizer where it was given or lies beside the model; else None.
    """

    def __init__(self, loaded: LoadedModel, source: str, tokenizer: str | None, device: str | torch.device = "cpu"):
        super().__init__(loaded, source, device)
        self.tokenizer_source = tokenizer
        self._tokenizer: Any = None

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer of the text encoder, loaded when first needed.

        Raises:
            DataError: it cannot be found, or is not the one the model was trained with.
        """
        if self._tokenizer is None:
            model = self.text_model
            name = self.tokenizer_source or self.cfg["model"].get("text_encoder")
            if not name:
                raise DataError(f"{self.source}: names no tokenizer; give tokenizer=NAME or FOLDER")
            if self.tokenizer_source is None and os.path.isdir(self.source) and "/" not in str(name):
                # Of paths an exported folder keeps the last part, which on a hub would be anybody's.
                raise DataError(
                    f"{self.source}: holds no tokenizer; that of its text encoder {str(name)!r} is needed: "
                    "load_pretrained(…, tokenizer=…) or --tokenizer"
                )
            try:
                tokenizer = load_tokenizer(str(name))
            except DataError as error:
                raise DataError(f"{error}; load_pretrained(…, tokenizer=…) and --tokenizer take another place") from None
            check_tokenizer(tokenizer, str(name), self.task_state.get("tokenizer_fingerprint"), model.vocab_size)
            self._tokenizer = tokenizer
        return self._tokenizer

    @property
    def max_text_tokens(self) -> int:
        """Longer texts are cut to so many tokens, as in training."""
        return int((self.cfg.get("task") or {}).get("max_text_tokens") or MAX_TEXT_TOKENS)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of texts, normalised as reports are: float32 ``[n, D]``, on the CPU; of Gaussians the means.

        Raises:
            DataError: not a list of texts, no tokenizer, or the model is a classifier.
        """
        return self.embed_text(texts).mean

    def embed_text(self, texts: Sequence[str]) -> Embedding:
        """:meth:`encode_text`, as the model's similarity takes them."""
        model = self.text_model
        return embed_texts(model, self._token_ids(texts), int(self.tokenizer.pad_token_id), self.device)

    def decode_text(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Normalised texts of token ids, such as those a model writes (:class:`cmelt_plugin.models.base.ReportWriter`).

        Raises:
            DataError: no tokenizer, or the model is a classifier.
        """
        return decode(self.tokenizer, ids)

    def embed_tokens(self, tokens: TokenTable, index: np.ndarray) -> Embedding:
        """Embeddings of the texts ``index [B]`` of a file of token ids, which needs no tokenizer."""
        texts = [tokens[int(text)] for text in index]
        return embed_texts(self.text_model, texts, tokens.info["pad_id"], self.device, self.max_text_tokens)

    def class_embeddings(self, prompts: Prompts, tokens: TokenTable | None = None) -> tuple[list[str], Embedding]:
        """One embedding per class: the model's ensemble of its texts.

        Args:
            prompts: class → texts.
            tokens: the token ids of these very texts, where there is a file of them; None: they are tokenised here.

        Returns:
            The C class names and C embeddings, on the CPU.

        Raises:
            DataError: no class, or a class without a text.
        """
        names = [str(name) for name in prompts]
        lists = [[texts] if isinstance(texts, str) else list(texts) for texts in prompts.values()]
        empty = [name for name, texts in zip(names, lists) if not texts or not all(str(text).strip() for text in texts)]
        if not names or empty:
            raise DataError(f"class without a text: {', '.join(empty)}" if empty else "no class to compare with")
        model = self.text_model
        if tokens is not None and tokens.class_index is not None:
            ids: Sequence[Any] = [tokens[text] for text in range(len(tokens))]
            class_index, pad_id = tokens.class_index, tokens.info["pad_id"]
        else:
            ids = self._token_ids([text for texts in lists for text in texts])
            class_index = np.repeat(np.arange(len(names)), [len(texts) for texts in lists])
            pad_id = int(self.tokenizer.pad_token_id)
        return names, embed_classes(model, ids, class_index, len(names), pad_id, self.device, self.max_text_tokens)

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise DataError("encode_text takes a list of texts")
        return encode(self.tokenizer, [normalise_report(text) for text in texts], self.max_text_tokens)[0]


def check_tokenizer(tokenizer: Any, name: str, fingerprint: str | None, vocab_size: int) -> None:
    """Refuse a tokenizer of another fingerprint, where that is known, or with more ids than a text encoder knows.

    Raises:
        DataError: it is not the one the model was trained with, or has no padding token.
    """
    if fingerprint is not None and tokenizer_fingerprint(tokenizer) != fingerprint:
        raise DataError(f"tokenizer {name!r} is not the one the model was trained with (their fingerprints differ)")
    if len(tokenizer) > vocab_size:
        raise DataError(f"tokenizer {name!r} has {len(tokenizer)} ids, the model's text encoder {vocab_size}")
    if tokenizer.pad_token_id is None:
        raise DataError(f"tokenizer {name!r} has no padding token")
