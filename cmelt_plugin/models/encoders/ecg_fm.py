"""ECG-FM (McKeen et al. 2024, arXiv 2408.05178) and other wav2vec 2.0 and CMSC models of fairseq-signals, from checkpoints.

The encoder is that of C-MELT without a class token, and fairseq-signals' names of weights are ours. Strides are those of its
ECG models, as wide as the kernels. ECG-FM reads leads with a mean of 0 and a deviation of 1 over the recording, in pieces of
5 s; features of a recording are the mean over its whole pieces. Whether another checkpoint was trained on such leads or on mV
no weight says: ``{"normalisation": "none"}`` in a ``config.json`` beside it means mV.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS, lead_indices
from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.common.wav2vec import wav2vec_encoder
from cmelt_plugin.models.encoders.frozen import FrozenEncoder
from cmelt_plugin.models.files.foreign_weights import HEAD_WIDTH
from cmelt_plugin.modules.ecg.feature_extractor import DEFAULT, ConvStack
from cmelt_plugin.modules.ecg.length_batch_norm import real_steps, zero_padding
from cmelt_plugin.modules.pooling.tokens import masked_mean

LEAD_ORDER = LEADS
MAX_TEXT_TOKENS = 0
PIECE = 2500  # samples: 5 s
STANDARDISED, NONE = NORMALISATIONS = ("standardised", "none")
SIGNS = {"feature_extractor.conv_layers.0.0.weight", "post_extract_proj.weight", "conv_pos.pos_conv.0.bias"}
FINE_TUNED = "encoder."  # in front of every name of the encoder in a fine-tuned classifier
# Of their pre-training, and the output layer of a classifier.
UNUSED = re.compile(r"(mask_emb|quantizer\..+|input_quantizer\..+|project_(q|inp)\..+|final_proj\..+|target_glu\..+|proj\..+)")
CONVOLUTION = re.compile(r"feature_extractor\.conv_layers\.(\d+)\.0\.weight")
WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}


@dataclass
class ECGFMConfig:
    conv_feature_layers: str = "[(256, 2, 2)] * 4"
    extractor_mode: str = DEFAULT
    conv_pos: int = 128
    conv_pos_groups: int = 16
    encoder_embed_dim: int = 768
    encoder_layers: int = 12
    encoder_attention_heads: int = 12
    encoder_ffn_embed_dim: int = 3072
    dropout: float = 0.0
    attention_dropout: float = 0.0
    feature_grad_mult: float = 1.0
    amplitude_embedding: bool = False
    normalisation: str = STANDARDISED


class ECGFM(FrozenEncoder):
    """The encoder with what ECG-FM does to a recording."""

    def __init__(self, cfg: ECGFMConfig) -> None:
        super().__init__()
        if cfg.normalisation not in NORMALISATIONS:
            raise DataError(f"normalisation must be one of {', '.join(NORMALISATIONS)}, not {cfg.normalisation!r}")
        self.cfg = cfg
        self.signal = SignalContract(normalisation=cfg.normalisation)
        self.ecg_encoder = wav2vec_encoder(cfg, ConvStack, len(LEADS), class_token=False)

    def layers(self) -> list[Any]:
        return self.ecg_encoder.layers()

    def pooled(self, ecg: Tensor, n_samples: Tensor | None) -> Tensor:
        if self.cfg.normalisation == STANDARDISED:
            ecg = standardised(ecg, n_samples)
        pieces = [ecg[..., start : start + PIECE] for start in range(0, max(1, ecg.shape[-1] - PIECE + 1), PIECE)]
        if n_samples is None:
            return torch.stack([self._mean(piece, None) for piece in pieces], dim=1).mean(1)
        found = []
        for number, piece in enumerate(pieces):
            real = (n_samples - number * PIECE).clamp(min=1, max=piece.shape[-1])
            found.append(self._mean(piece, None if bool((real == piece.shape[-1]).all()) else real))
        whole = torch.div(n_samples, PIECE, rounding_mode="floor").clamp(min=1)
        return masked_mean(torch.stack(found, dim=1), torch.arange(len(pieces), device=ecg.device) >= whole[:, None])

    def _mean(self, piece: Tensor, n_samples: Tensor | None) -> Tensor:
        encoded = self.ecg_encoder(piece, n_samples)
        return masked_mean(encoded.states, encoded.padding_mask)


def standardised(ecg: Tensor, n_samples: Tensor | None) -> Tensor:
    """Each lead with a mean of 0 and a deviation of 1 over real samples; a flat lead is 0."""
    real = torch.ones_like(ecg[:, :1]) if n_samples is None else real_steps(n_samples, ecg.shape[-1]).to(ecg.dtype)
    count = real.sum(-1, keepdim=True)
    centred = ecg - (ecg * real).sum(-1, keepdim=True) / count
    deviation = ((centred * real).square().sum(-1, keepdim=True) / count).sqrt()
    flat = (ecg.masked_fill(real == 0, float("inf")).amin(-1) == ecg.masked_fill(real == 0, float("-inf")).amax(-1))[..., None]
    return zero_padding(centred / torch.where(flat, 1.0, deviation) * ~flat, n_samples)


def plain_names(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The same as of a pre-trained model, of a fine-tuned one, too, and with torch's present names of weight normalisation."""
    tuned = f"{FINE_TUNED}post_extract_proj.weight" in weights
    found = {}
    for name, tensor in weights.items():
        name = name[len(FINE_TUNED) :] if tuned and name.startswith(FINE_TUNED) else name
        stem, _, kind = name.rpartition(".")
        found[f"{stem}.{WEIGHT_NORM[kind]}" if stem == "conv_pos.pos_conv.0" and kind in WEIGHT_NORM else name] = tensor
    return found


def recognises(names: Collection[str]) -> bool:
    """Whether weights of these names are of such a model."""
    return set(plain_names(dict.fromkeys(names))) >= SIGNS


def our_settings(weights: Mapping[str, Any], config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Values of :class:`ECGFMConfig`, from the shapes of the weights.

    Args:
        weights: name → anything with ``shape``.
        config: ``normalisation``, and ``encoder_attention_heads``, which no shape tells: one per 64 channels.

    Raises:
        DataError: a weight that tells a size is missing.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in plain_names(weights).items()}
    config = config or {}
    try:
        numbers = sorted(int(found[1]) for found in map(CONVOLUTION.fullmatch, shapes) if found)
        convolutions = [shapes[f"feature_extractor.conv_layers.{number}.0.weight"] for number in numbers]
        width, _ = shapes["post_extract_proj.weight"]
        _, grouped, kernel = shapes["conv_pos.pos_conv.0.parametrizations.weight.original1"]
        return {
            "conv_feature_layers": " + ".join(f"[({out}, {size}, {size})]" for out, _, size in convolutions),
            "conv_pos": kernel,
            "conv_pos_groups": width // grouped,
            "encoder_embed_dim": width,
            "encoder_layers": sum(name.startswith("encoder.layers.") and name.endswith(".fc1.weight") for name in shapes),
            "encoder_attention_heads": config.get("encoder_attention_heads") or max(1, width // HEAD_WIDTH),
            "encoder_ffn_embed_dim": shapes["encoder.layers.0.fc1.weight"][0],
            "normalisation": config.get("normalisation", STANDARDISED),
        }
    except KeyError as error:
        raise DataError(f"the published weights lack {error.args[0]}") from None


def convert(weights: dict[str, Tensor], lead_order: Sequence[str] = LEAD_ORDER) -> dict[str, Tensor]:
    """The state dict of :class:`ECGFM`; what misses or is left over, the strict loading says.

    Args:
        weights: all of the checkpoint's weights.
        lead_order: the 12 leads in the order of the channels they were trained with.
    """
    state = {f"ecg_encoder.{name}": tensor for name, tensor in plain_names(weights).items() if not UNUSED.fullmatch(name)}
    first = "ecg_encoder.feature_extractor.conv_layers.0.0.weight"
    state[first] = state[first][:, lead_indices(lead_order)].contiguous()
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
