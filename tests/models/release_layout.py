"""Weights under the names of the authors' release, made from a tiny model of ours, for tests without their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tiny import TINY_MODEL, tiny_model, tiny_t5_config
from torch import Tensor

from cmelt_plugin.models.cmelt.released import NAMES, POSITIONS, STACKS, WHOLE_NAMES
from cmelt_plugin.modules.transformer import sinusoidal_positions

CONFIG: dict[str, Any] = {
    "model": {
        "_name": "m3ae",
        "layer_norm_first": False,
        "extractor_mode": "default",
        "conv_bias": False,
        "in_d": 12,
        **{name: TINY_MODEL[name] for name in ("conv_feature_layers", "conv_pos", "conv_pos_groups")},
        **{name: TINY_MODEL[name] for name in ("encoder_embed_dim", "encoder_layers", "encoder_attention_heads")},
        "encoder_ffn_embed_dim": TINY_MODEL["encoder_ffn_embed_dim"],
        "hidden_dim": TINY_MODEL["fusion_dim"],
        "num_heads": TINY_MODEL["fusion_heads"],
        "num_layers": TINY_MODEL["fusion_layers"],
        "num_top_layer": TINY_MODEL["fusion_layers"],
        "mim_layer": TINY_MODEL["mem_layer"],
        "mim_prob": 0.75,
        "mim_decoder_hidden_dim": TINY_MODEL["mem_decoder_dim"],
        "mim_decoder_num_layers": TINY_MODEL["mem_decoder_layers"],
        "mim_decoder_num_heads": TINY_MODEL["mem_decoder_heads"],
    },
    "t5": {name: value for name, value in json.loads(tiny_t5_config()).items() if name != "model_type"},
}


def release_weights(seed: int = 0) -> dict[str, Tensor]:
    """Random weights of the tiny sizes, named as the release names them."""
    torch.manual_seed(seed)
    ours = tiny_model(fusion_ffn_dim=4 * TINY_MODEL["fusion_dim"]).state_dict()
    ours = {name: torch.randn_like(tensor) * 0.1 for name, tensor in ours.items()}
    ours["text_encoder.model.encoder.embed_tokens.weight"] = ours["text_encoder.model.shared.weight"]
    width, decoder = TINY_MODEL["fusion_dim"], TINY_MODEL["mem_decoder_dim"]
    theirs = {
        "itm_head.fc.weight": torch.randn(2, 2 * width),
        "itm_head.fc.bias": torch.randn(2),
        POSITIONS: sinusoidal_positions(512, decoder)[None],
    }
    for side in ("ecg", "language"):
        theirs[f"unimodal_{side}_pooler.dense.weight"] = torch.randn(width, width) * 0.1
        theirs[f"unimodal_{side}_pooler.dense.bias"] = torch.randn(width)
    for name, tensor in ours.items():
        if name.split(".")[0] in ("ecg_projection", "text_projection", "etm_head", "log_logit_scale", "logit_bias"):
            continue
        prefix, found, kind = name.partition(".self_attn.q_proj.")
        if found and prefix.startswith("mem_head"):
            parts = [ours[f"{prefix}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            index = prefix.split(".")[3]
            theirs[f"mim_head.decoder.resblocks.{index}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif not (prefix.startswith("mem_head") and any(f"self_attn.{part}_proj" in name for part in "kv")):
            theirs[_their_name(name)] = tensor
    return theirs


def _their_name(name: str) -> str:
    whole = {ours: theirs for theirs, ours in WHOLE_NAMES.items()}
    if name in whole:
        return whole[name]
    if name.startswith("ecg_encoder."):
        return name
    if name.startswith("text_encoder.model."):
        return "language_encoder." + name[len("text_encoder.model.") :]
    stem, _, kind = name.rpartition(".")
    for theirs, (ours, parts) in STACKS.items():
        if stem.startswith(ours + "."):
            index, _, part = stem[len(ours) + 1 :].partition(".")
            back = {value: key for key, value in parts.items()}
            return f"{theirs}.{index}.{back[part]}.{kind}"
    return {ours: theirs for theirs, ours in NAMES.items()}[stem] + f".{kind}"


def write_release(folder: Path, weights: dict[str, Tensor] | None = None, config: dict[str, Any] | None = None) -> Path:
    """A folder as published: ``config.json`` and ``weights.safetensors``; returns the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config), encoding="utf-8")
    weights = release_weights() if weights is None else weights
    save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / "weights.safetensors")
    return folder
