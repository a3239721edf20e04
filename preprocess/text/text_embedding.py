"""Report texts as unit vectors, by a pre-trained text encoder or by word statistics."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers, load_config, load_model
from preprocess.text.hf_tokenizer import first_line, load_tokenizer, tokenizer_fingerprint

TFIDF = "tfidf"
TFIDF_WIDTH = 256


class Embedder(Protocol):
    """What turns texts into vectors.

    Attributes:
        name: as given on the command line, of folders the last part.
        fingerprint: changes whenever the vectors would.
        whole: the vectors depend on all texts together, so they cannot be made block by block.
    """

    name: str
    fingerprint: str
    whole: bool

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 ``[texts, d]``, rows of unit norm (zero for a text without any known word)."""


class TfidfEmbedder:
    """TF-IDF of words and word pairs, reduced by a truncated SVD; needs no pre-trained model.

    It knows words, not meanings: the same finding in two languages is far apart.
    """

    name = TFIDF
    whole = True
    fingerprint = f"tfidf words 1-2, {TFIDF_WIDTH} dimensions"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """See :class:`Embedder`; the width is 256, or fewer for a small corpus."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        try:
            counts = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+").fit_transform(texts)
        except ValueError as error:
            raise DataError(f"tfidf: {first_line(error)}") from None
        width = min(TFIDF_WIDTH, min(counts.shape) - 1)
        if width < 1:
            return unit_norm(counts.toarray())
        return unit_norm(TruncatedSVD(width, random_state=0).fit_transform(counts))


class EncoderEmbedder:
    """Masked mean of an encoder's last hidden states over the real tokens (C-MELT section 3.2 with Flan-T5-small)."""

    whole = False

    def __init__(self, name: str, device: str = "auto", batch: int = 256, max_tokens: int = 256) -> None:
        """Load tokenizer and encoder.

        Args:
            name: folder or name for ``from_pretrained``; of encoder-decoder models only the encoder is used.
            device: "auto" (a GPU where there is one), or any torch device.
            batch: texts per forward pass.
            max_tokens: longer texts are cut.

        Raises:
            DataError: it cannot be loaded, or the device is not there.
        """
        import torch

        self.name = Path(name).name if Path(name).is_dir() else name
        self.batch, self.max_tokens = batch, max_tokens
        self.tokenizer = load_tokenizer(name)
        if self.tokenizer.pad_token_id is None:
            raise DataError(f"embedder {name}: its tokenizer has no padding token")
        try:
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            self.device = torch.device(device)
            self.model = _load_encoder(name).to(self.device).float().eval()
        except (OSError, ValueError, KeyError, RuntimeError, AssertionError) as error:
            raise DataError(f"embedder {name!r} cannot be loaded on device {device} ({first_line(error)})") from None
        self.fingerprint = self._fingerprint()

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps([tokenizer_fingerprint(self.tokenizer), self.max_tokens]).encode())
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return "sha256:" + digest.hexdigest()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """See :class:`Embedder`."""
        import torch

        # Texts of like length together: less padding.
        order = np.argsort([len(text) for text in texts], kind="stable")
        result: np.ndarray | None = None
        with torch.inference_mode():
            for start in range(0, len(order), self.batch):
                chosen = order[start : start + self.batch]
                inputs = self.tokenizer(
                    [texts[index] for index in chosen],
                    padding=True,
                    truncation=True,
                    max_length=self.max_tokens,
                    return_tensors="pt",
                ).to(self.device)
                hidden = self.model(**{key: inputs[key] for key in ("input_ids", "attention_mask")}).last_hidden_state
                real = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                mean = (hidden * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
                if result is None:
                    result = np.empty((len(texts), mean.shape[1]), dtype=np.float32)
                result[chosen] = unit_norm(mean.cpu().numpy())
        if result is None:
            raise DataError("no text to embed")
        return result


def _load_encoder(name: str) -> Any:
    transformers = import_transformers()
    kind = load_config(name).model_type
    # AutoModel would add a decoder, with random weights where a folder holds an encoder alone.
    encoders = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
    if kind in encoders:
        return load_model(getattr(transformers, encoders[kind]), name)
    model, info = load_model(transformers.AutoModel, name, output_loading_info=True)
    if any("pooler" in key for key in info["missing_keys"]):
        model.pooler = None  # random weights, which nobody reads and which would be others every time
    return model.get_encoder() if model.config.is_encoder_decoder else model


def load_embedder(name: str, device: str = "auto", batch: int = 256) -> Embedder:
    """``tfidf`` or a folder or name of a text encoder."""
    return TfidfEmbedder() if name == TFIDF else EncoderEmbedder(name, device, batch)


class EmbedderSettings(NamedTuple):
    """What another process needs to load the same embedder.

    Attributes:
        name, device, batch: for :func:`load_embedder`.
        fingerprint: what the embedder there must have.
        threads: of PyTorch; 0: its own choice.
    """

    name: str
    device: str
    batch: int
    fingerprint: str
    threads: int = 0


def embedder_settings(name: str, device: str, batch: int, fingerprint: str, local_jobs: int) -> EmbedderSettings:
    """Settings for ``local_jobs`` processes that share the cores of this machine, or 0 for those of other machines."""
    if os.path.isdir(name):
        name = os.path.abspath(name)
    threads = max((os.cpu_count() or 1) // local_jobs, 1) if local_jobs else 0
    return EmbedderSettings(name, device, batch, fingerprint, threads)


def embed_block(block: tuple[int, list[str]], settings: EmbedderSettings) -> tuple[int, np.ndarray]:
    """Embed one numbered block of texts in a worker process, which keeps the embedder for its next block.

    Raises:
        DataError: the worker's encoder cannot be loaded or is not the one of the settings.
    """
    number, texts = block
    return number, _worker_embedder(settings)(texts)


@functools.lru_cache(maxsize=1)
def _worker_embedder(settings: EmbedderSettings) -> Embedder:
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    embedder = load_embedder(settings.name, settings.device, settings.batch)
    if embedder.fingerprint != settings.fingerprint:
        raise DataError(f"embedder {settings.name}: other weights or another tokenizer on {socket.gethostname()}")
    return embedder


def unit_norm(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to unit norm, float32; zero rows stay zero."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norm > 0, norm, 1)).astype(np.float32)
