"""HuBERT-ECG (Coppola et al. 2024, medRxiv 2024.11.14.24317328), from a file of the authors' repositories.

Its weights are under CC BY-NC 4.0: no commercial use. The network is transformers' own HuBERT, described by the ``config.json``
that lies beside the weights. It reads the first 5 s of the 12 leads one behind the other, as a single signal at 100 Hz. What is
there for its pre-training alone, or for a classifier, is dropped by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cmelt_plugin.data.leads import LEADS, lead_indices
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import config_of, import_transformers
from cmelt_plugin.models.encoders.frozen import FrozenEncoder, of_each

LEAD_ORDER = LEADS
MAX_TEXT_TOKENS = 0
FINE_TUNED = "hubert_ecg."  # in front of every name of the encoder in a fine-tuned classifier
SIGN = "feature_projection.projection.weight"
UNUSED = re.compile(r"(masked_spec_embed|(final_proj|label_embedding|classifier)\..+)")
WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
POSITIONS = "encoder.pos_conv_embed.conv"
SHAPES = (  # settings of transformers' HuBERT that make another network
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "feat_extract_norm",
    "feat_extract_activation",
    "feat_proj_layer_norm",
    "do_stable_layer_norm",
)
BAND, TAPS = (0.05, 47), 151  # Hz, of a filter of 0.3 s
USED, STEP = 2500, 5  # samples at 500 Hz that are read, one of which in 5


@dataclass
class HuBERTECGConfig:
    hubert: str = ""


class HuBERTECG(FrozenEncoder):
    """The network with what is done to recordings in front of it."""

    def __init__(self, cfg: HuBERTECGConfig) -> None:
        super().__init__()
        if not cfg.hubert:
            raise DataError("a HuBERT-ECG is described by the config.json of its repository: put it beside the weights")
        self.cfg = cfg
        self.signal = SignalContract(normalisation="0.05–47 Hz, each lead to −1…1, leads one behind the other at 100 Hz")
        described = config_of({"model_type": "hubert", **json.loads(cfg.hubert)}, "config.json")
        self.hubert = import_transformers().HubertModel(described)

    def layers(self) -> list[nn.Module]:
        return list(self.hubert.encoder.layers)

    def pooled(self, ecg: Tensor, n_samples: Tensor | None) -> Tensor:
        rows = []
        for signal in of_each(ecg, n_samples, scaled, USED)[..., :USED]:
            rows.append(torch.from_numpy(decimated(signal.double().cpu().numpy())))
        return self.hubert(torch.stack(rows).to(ecg)).last_hidden_state.mean(1)


def scaled(signal: np.ndarray) -> np.ndarray:
    """``[leads, samples]`` mV at 500 Hz → within the band, each lead from −1 to 1."""
    from scipy.signal import filtfilt, firwin

    filtered = filtfilt(firwin(TAPS, BAND, pass_zero=False, fs=SAMPLE_RATE), [1.0], signal, axis=1)
    low, high = filtered.min(axis=1, keepdims=True), filtered.max(axis=1, keepdims=True)
    return 2 * (filtered - low) / (high - low + 1e-8) - 1


def decimated(signal: np.ndarray) -> np.ndarray:
    """``[leads, samples]`` at 500 Hz → one lead behind the other at 100 Hz."""
    from scipy.signal import decimate

    return np.ascontiguousarray(decimate(signal.reshape(-1), STEP))


def plain_names(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The same as of a pre-trained model, of a fine-tuned one, too, and with torch's present names of weight normalisation."""
    found = {}
    for name, tensor in weights.items():
        name = name[len(FINE_TUNED) :] if name.startswith(FINE_TUNED) else name
        stem, _, kind = name.rpartition(".")
        found[f"{stem}.{WEIGHT_NORM[kind]}" if stem == POSITIONS and kind in WEIGHT_NORM else name] = tensor
    return found


def recognises(names: Collection[str]) -> bool:
    """Whether weights of these names are of such a model; those of speech have no embeddings of labels."""
    own = any(name.startswith((FINE_TUNED, "label_embedding.")) for name in names)
    return own and SIGN in plain_names(dict.fromkeys(names))


def our_settings(weights: Mapping[str, Any], config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Values of :class:`HuBERTECGConfig`, from the ``config.json`` of the repository.

    Raises:
        DataError: there is none, or it lacks what describes the network.
    """
    missing = [name for name in SHAPES if name not in (config or {})]
    if config is None or missing:
        raise DataError(f"needs the config.json of its repository beside it, which says {', '.join(missing[:3])} and more")
    # Nothing is masked here; layers are never left out.
    values = {**{name: config[name] for name in SHAPES}, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
    return {"hubert": json.dumps(values, sort_keys=True)}


def convert(weights: dict[str, Tensor], lead_order: Sequence[str] = LEAD_ORDER) -> dict[str, Tensor]:
    """The state dict of :class:`HuBERTECG`.

    Args:
        weights: all of the file's weights.
        lead_order: that of this project. The weights hold no other: leads are read one behind the other.

    Raises:
        DataError: another order of leads.
    """
    if list(lead_indices(lead_order)) != list(range(len(LEADS))):
        raise DataError("HuBERT-ECG reads leads in the standard order; leave lead_order out")
    found = {name: tensor for name, tensor in plain_names(weights).items() if not UNUSED.fullmatch(name)}
    return {f"hubert.{name}": tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}
