"""The ECG encoder of a trained model, wherever it is kept: its sizes and its weights."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import own_settings
from cmelt_plugin.serialization.checkpoint_files import load_state, open_state

SIZES = (
    "conv_feature_layers",
    "conv_pos",
    "conv_pos_groups",
    "encoder_embed_dim",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_embed_dim",
)
DROPOUTS = ("dropout", "attention_dropout")
PREFIX = "ecg_encoder."


class EncoderSource(NamedTuple):
    """An ECG encoder as found on disk.

    Attributes:
        sizes: values of :data:`SIZES`.
        dropouts: values of :data:`DROPOUTS` in its training.
        weights: state of ``ECGEncoder``.
    """

    sizes: dict[str, Any]
    dropouts: dict[str, float]
    weights: dict[str, Tensor]


@functools.lru_cache(maxsize=1)  # asked for twice when a model is built: for its sizes, then for its weights
def read_encoder(path: str) -> EncoderSource:
    """The ECG encoder of a checkpoint of this plugin, or of whatever else ``cmelt_plugin.load_pretrained`` opens.

    Of a checkpoint only the encoder is taken; the text encoder, which is several times larger, is not built.

    Raises:
        DataError: the file cannot be read, is damaged, or holds no ECG encoder of this plugin.
    """
    if not os.path.exists(path):
        raise DataError(f"model.pretrained={path}: no such file or folder")
    state = _own_checkpoint(path) if os.path.isfile(path) else None
    if state is not None:
        return _source(path, state["cfg"]["model"], state["model"])
    from cmelt_plugin.models.pretrained import load_pretrained

    model = load_pretrained(path).model
    values = {name: getattr(model.cfg, name, None) for name in (*SIZES, *DROPOUTS)}
    return _source(path, values, model.state_dict())


def _own_checkpoint(path: str) -> dict[str, Any] | None:
    """The state of a checkpoint that a host saved of one of this plugin's models; None for any other file."""
    try:
        own = own_settings(open_state(path).tree) is not None
    except DataError:
        return None
    return load_state(path, ("cfg",)) if own else None


def _source(path: str, cfg: Mapping[str, Any], state: Mapping[str, Tensor]) -> EncoderSource:
    weights = {name[len(PREFIX) :]: tensor.clone() for name, tensor in state.items() if name.startswith(PREFIX)}
    missing = [name for name in (*SIZES, *DROPOUTS) if cfg.get(name) is None]
    if not weights or missing:
        what = f"its configuration lacks {', '.join(missing)}" if weights else "it has no weights named ecg_encoder.…"
        raise DataError(f"model.pretrained={path}: holds no ECG encoder of this plugin ({what})")
    return EncoderSource({name: cfg[name] for name in SIZES}, {name: float(cfg[name]) for name in DROPOUTS}, weights)
