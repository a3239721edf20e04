"""The weights MERL's authors published, in this plugin's MERL.

Most weights need another name and nothing else. Stored differently are:

- their attention pool adds position 0 to its class token twice; here the class token alone stands for the sum;
- its query, key and value, and those of the ViT, are one matrix;
- their ResNet carries a linear layer of 10 outputs that nothing reads. It is dropped;
- channels are in the order in which MIMIC-IV-ECG stores leads, aVF before aVL; here they are put into ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.leads import MIMIC_IV_ECG_LEADS, lead_indices
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.foreign_weights import HEAD_WIDTH, bert_settings, split_attention

LEAD_ORDER = MIMIC_IV_ECG_LEADS
MAX_TEXT_TOKENS = 256
SIGN = "proj_t.0.weight"  # with lm_model.…, names no other model has

# Nothing reads these: the ResNet's classification layer, and an index table of older versions of transformers.
UNUSED = ("ecg_encoder.linear.weight", "ecg_encoder.linear.bias", "lm_model.embeddings.position_ids")
STEMS = {
    "downconv": "ecg_tower.conv",
    "att_pool_head.mhsa.out_proj": "ecg_tower.pool.attention.out_proj",
    "att_pool_head.c_proj": "ecg_tower.pool.out",
    "proj_e.0": "ecg_tower.hidden",
    "proj_e.1": "ecg_tower.hidden_norm",
    "proj_e.3": "ecg_tower.out",
    "proj_e.4": "ecg_tower.out_norm",
    "linear1": "views.0",
    "linear2": "views.1",
    "proj_t.0": "text_projection.0",
    "proj_t.2": "text_projection.2",
    "ecg_encoder.to_patch_embedding": "ecg_tower.encoder.patch_embedding",
    "ecg_encoder.norm": "ecg_tower.encoder.layer_norm",
}
VIT_BLOCK = {
    "attn.norm": "self_attn_layer_norm",
    "attn.fn.to_out.0": "self_attn.out_proj",
    "ff.norm": "final_layer_norm",
    "ff.fn.net.0": "fc1",
    "ff.fn.net.3": "fc2",
}
FIRST_CONVOLUTIONS = ("ecg_tower.encoder.conv1.weight", "ecg_tower.encoder.patch_embedding.weight")
_RESNET = re.compile(r"(conv1|bn1|layer\d)\b.*")
_VIT_BLOCK = re.compile(r"ecg_encoder\.block(\d+)\.(.+)")


def our_name(name: str) -> str | None:
    """Our name of a weight of theirs that is stored alike; None for another or an unknown one."""
    stem, _, kind = name.rpartition(".")
    if name.startswith("lm_model."):
        return "text_encoder.model." + name[len("lm_model.") :]
    if stem in STEMS:
        return f"{STEMS[stem]}.{kind}"
    block = _VIT_BLOCK.fullmatch(stem)
    if block is not None and block[2] in VIT_BLOCK:
        return f"ecg_tower.encoder.layers.{block[1]}.{VIT_BLOCK[block[2]]}.{kind}"
    part = name[len("ecg_encoder.") :] if name.startswith("ecg_encoder.") else ""
    return f"ecg_tower.encoder.{part}" if _RESNET.fullmatch(part) else None


def _is_resnet(names: Iterable[str]) -> bool:
    return any(name.startswith("ecg_encoder.layer1.") for name in names)


def plain_names(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the prefix that data-parallel training puts in front of every name."""
    prefix = "module."
    return {name[len(prefix) :] if name.startswith(prefix) else name: tensor for name, tensor in weights.items()}


def convert(weights: dict[str, Tensor], lead_order: Sequence[str] = LEAD_ORDER) -> dict[str, Tensor]:
    """The release's state dict → the state dict of our MERL.

    Args:
        weights: all of the release's weights.
        lead_order: the 12 leads in the order of the channels they were trained with.

    Raises:
        DataError: a weight that is not known, or one that another needs is missing.
    """
    rest = {name: tensor for name, tensor in plain_names(weights).items() if name not in UNUSED}
    state: dict[str, Tensor] = {}
    try:
        if _is_resnet(rest):
            positions = rest.pop("att_pool_head.positional_embedding")[0]
            state["ecg_tower.pool.class_token"] = rest.pop("att_pool_head.cls_token")[0, 0] + 2 * positions[0]
            state["ecg_tower.pool.positions"] = positions[1:].clone()
        else:
            state["ecg_tower.encoder.positions"] = rest.pop("ecg_encoder.pos_embedding")[0]
        temperature = torch.full((), 1 / 0.07).log()
        state["log_logit_scale"], state["log_uma_scale"] = temperature, temperature.clone()
    except KeyError as error:
        raise DataError(f"the published weights lack {error.args[0]}") from None
    unknown = []
    for name, tensor in rest.items():
        pool, _, kind = name.partition("att_pool_head.mhsa.in_proj_")
        block = _VIT_BLOCK.fullmatch(name)
        if kind and not pool:
            split_attention(state, "ecg_tower.pool.attention", kind, tensor)
        elif block is not None and block[2].startswith("attn.fn.to_qkv."):
            split_attention(state, f"ecg_tower.encoder.layers.{block[1]}.self_attn", block[2].rpartition(".")[2], tensor)
        elif (renamed := our_name(name)) is None:
            unknown.append(name)
        else:
            state[renamed] = tensor
    if unknown:
        raise DataError(f"weights this plugin does not know: {', '.join(sorted(unknown))}")
    for name in FIRST_CONVOLUTIONS:
        if name in state:
            state[name] = state[name][:, lead_indices(lead_order)].contiguous()
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def recognises(names: Collection[str]) -> bool:
    """Whether weights of these names are the release's."""
    plain = plain_names(dict.fromkeys(names))
    return SIGN in plain and any(name.startswith("lm_model.") for name in plain)


def our_settings(weights: Mapping[str, Any], config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Values of :class:`cmelt_plugin.models.merl.config.MERLConfig` for the release's weights, from their shapes.

    Args:
        weights: name → anything with ``shape``.
        config: ``ecg_heads`` and ``text_heads``, attention heads of ViT and BERT, which no shape tells; default: one per 64
            channels.

    Raises:
        DataError: a weight that tells a size is missing.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in plain_names(weights).items()}
    ecg_heads, text_heads = ((config or {}).get(name) for name in ("ecg_heads", "text_heads"))
    try:
        values = {
            "projection_dim": shapes["proj_t.0.weight"][0],
            "embed_dim": shapes["proj_t.2.weight"][0],
            "text_encoder_config": json.dumps(bert_settings(shapes, "lm_model.", text_heads), sort_keys=True),
        }
        if _is_resnet(shapes):
            values.update(ecg_encoder="resnet18", ecg_width=shapes["ecg_encoder.conv1.weight"][0])
        else:
            width = shapes["ecg_encoder.to_patch_embedding.weight"][0]
            layers = sum(name.endswith(".attn.fn.to_qkv.weight") for name in shapes)
            heads = ecg_heads or width // HEAD_WIDTH
            values.update(ecg_encoder="vit_tiny", ecg_width=width, ecg_layers=layers, ecg_heads=heads)
    except KeyError as error:
        raise DataError(f"the published weights lack {error.args[0]}") from None
    return {
        **values,
        "text_encoder_pretrained": False,
        "text_pool": "pooler",
        "normalisation": "min_max",
        "learn_logit_scale": False,
    }
