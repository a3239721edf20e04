"""How a system's model comes by its text encoder: from a name or folder in training, from its description in a checkpoint.

The system's configuration has ``text_encoder``, ``text_encoder_config`` and ``text_encoder_pretrained``.
"""

from __future__ import annotations

from typing import Any

from cmelt_plugin.modules.text.text_encoder import TextEncoder, describe_text_encoder


class WithTextEncoder:
    """Base of models that have a ``text_encoder``."""

    text_encoder: TextEncoder

    @classmethod
    def prepare_config(cls, cfg: Any) -> None:
        """Fill in what a checkpoint must hold to be opened without the text encoder's folder."""
        fill_in_description(cfg)

    @property
    def vocab_size(self) -> int:
        """Tokens that the text encoder knows."""
        return self.text_encoder.vocab_size


def fill_in_description(cfg: Any) -> None:
    """Set ``text_encoder_config`` of a configuration that has none."""
    if cfg.text_encoder_config is None:
        cfg.text_encoder_config = describe_text_encoder(cfg.text_encoder)


def is_loading(task: Any) -> bool:
    """Whether a checkpoint is about to overwrite the weights of the model that is built for ``task``."""
    return bool(getattr(task, "loading_checkpoint", False))


def text_encoder_of(cfg: Any, task: Any = None, kind: Any = TextEncoder, **options: Any) -> Any:
    """The text encoder of a configuration; with random weights where a checkpoint will overwrite them.

    Args:
        cfg: of the system.
        task: see :func:`is_loading`.
        kind: :class:`TextEncoder` or a subclass.
        options: further arguments of ``kind``.

    Raises:
        ValueError: a checkpoint's configuration does not describe it.
        DataError: it cannot be opened.
    """
    if kind is TextEncoder and getattr(task, "serving", False):
        options["serving"] = True
    return kind(*described(cfg, task), **options)


def described(cfg: Any, task: Any = None) -> tuple[str, str | None]:
    """The description of a configuration's text encoder, and where its weights come from; None: they are random.

    Raises:
        ValueError, DataError: as :func:`text_encoder_of`.
    """
    loading = is_loading(task)
    if loading and not cfg.text_encoder_config:
        raise ValueError("text_encoder_config is not set, so its text encoder is not described")
    description = cfg.text_encoder_config or describe_text_encoder(cfg.text_encoder)
    return description, cfg.text_encoder if cfg.text_encoder_pretrained and not loading else None
