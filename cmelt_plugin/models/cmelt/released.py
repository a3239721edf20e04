"""The weights the paper's authors published (release name D-BETA) in this plugin's C-MELT.

Most weights need another name and nothing else (:data:`NAMES`). Four things are stored differently:

- their projection heads read what the fusion module's projections wrote, ours read the encoders as the paper says; two
  linear maps in a row are one: W = W₂W₁, b = W₂b₁ + b₂;
- their matching head has two classes, ours is the difference of their logits;
- their MEM decoder keeps query, key and value in one matrix and uses x·σ(1.702x);
- MIMIC-IV-ECG stores aVF before aVL and the release takes channels by position, so weights trained on it expect that
  order (:data:`cmelt_plugin.data.leads.MIMIC_IV_ECG_LEADS`). Given as ``lead_order``, the channels of the weights are put
  into ours.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS, lead_indices
from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.transformer import sinusoidal_positions

SIGN = "multi_modal_ecg_proj.weight"  # a name no other model has
LEAD_ORDER = None  # several sets of weights, of which none says
MAX_TEXT_TOKENS = 256

# Flan-T5-base, the release's text encoder, for releases whose configuration does not describe it.
FLAN_T5_BASE = {
    "vocab_size": 32128,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 12,
    "num_heads": 12,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}
# Their setting → ours; the second name is that of their older configurations.
SETTINGS = {
    "conv_feature_layers": "conv_feature_layers",
    "conv_pos": "conv_pos",
    "conv_pos_groups": "conv_pos_groups",
    "encoder_embed_dim": "encoder_embed_dim",
    "encoder_layers": "encoder_layers",
    "encoder_attention_heads": "encoder_attention_heads",
    "encoder_ffn_embed_dim": "encoder_ffn_embed_dim",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "hidden_dim": "fusion_dim",
    "num_top_layer": "fusion_layers",
    "num_heads": "fusion_heads",
    "mem_prob": "mem_ratio",
    "mem_layer": "mem_layer",
    "mem_decoder_hidden_dim": "mem_decoder_dim",
    "mem_decoder_num_layers": "mem_decoder_layers",
    "mem_decoder_num_heads": "mem_decoder_heads",
}
# Settings of theirs that would make another model.
FIXED = {"layer_norm_first": False, "extractor_mode": "default", "conv_bias": False, "in_d": len(LEADS)}

LAYER_NAMES = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "self_attn_layer_norm",
    "crossattention.self.query": "cross_attn.q_proj",
    "crossattention.self.key": "cross_attn.k_proj",
    "crossattention.self.value": "cross_attn.v_proj",
    "crossattention.output.dense": "cross_attn.out_proj",
    "crossattention.output.LayerNorm": "cross_attn_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "output.LayerNorm": "final_layer_norm",
}
MEM_LAYER_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "self_attn_layer_norm",
    "ln_2": "final_layer_norm",
    "mlp.c_fc": "fc1",
    "mlp.c_proj": "fc2",
}
STACKS = {
    "multi_modal_language_layers": ("fusion.text_layers", LAYER_NAMES),
    "multi_modal_ecg_layers": ("fusion.ecg_layers", LAYER_NAMES),
    "mim_head.decoder.resblocks": ("mem_head.decoder.layers", MEM_LAYER_NAMES),
}
NAMES = {
    "multi_modal_language_proj": "fusion.text_proj",
    "multi_modal_ecg_proj": "fusion.ecg_proj",
    "modality_type_embeddings": "fusion.modality_type",
    "multi_modal_language_pooler.dense": "fused_text_pooler.dense",
    "multi_modal_ecg_pooler.dense": "fused_ecg_pooler.dense",
    "mlm_head.transform.dense": "mlm_head.dense",
    "mlm_head.transform.LayerNorm": "mlm_head.layer_norm",
    "mlm_head.decoder": "mlm_head.decoder",
    "mim_head.decoder_embed": "mem_head.embed",
    "mim_head.decoder_norm": "mem_head.decoder.layer_norm",
    "mim_head.decoder_pred": "mem_head.predict",
}
WHOLE_NAMES = {
    "class_embedding": "ecg_encoder.class_embedding",
    "mlm_head.bias": "mlm_head.decoder.bias",
    "mim_head.mask_token": "mem_head.mask_token",
    # Weight normalisation as older versions of torch wrote it.
    "ecg_encoder.conv_pos.pos_conv.0.weight_g": "ecg_encoder.conv_pos.pos_conv.0.parametrizations.weight.original0",
    "ecg_encoder.conv_pos.pos_conv.0.weight_v": "ecg_encoder.conv_pos.pos_conv.0.parametrizations.weight.original1",
}
POSITIONS = "mim_head.decoder_pos_embed.pe"
# What their checkpoints may hold and their own code does not use either: wav2vec 2.0's vector for masked time steps.
UNUSED = ("ecg_encoder.mask_emb",)


def our_name(name: str) -> str | None:
    """Where a weight of the release goes that needs a new name and nothing else; None: no such weight is known."""
    if name in WHOLE_NAMES:
        return WHOLE_NAMES[name]
    if name.startswith("ecg_encoder."):
        return name
    if name.startswith("language_encoder."):
        return "text_encoder.model." + name[len("language_encoder.") :]
    stem, _, kind = name.rpartition(".")
    for theirs, (ours, parts) in STACKS.items():
        if stem.startswith(theirs + "."):
            index, _, part = stem[len(theirs) + 1 :].partition(".")
            return f"{ours}.{index}.{parts[part]}.{kind}" if part in parts else None
    return f"{NAMES[stem]}.{kind}" if stem in NAMES else None


def convert(weights: dict[str, Tensor], lead_order: Sequence[str] = LEADS) -> dict[str, Tensor]:
    """The release's state dict → the state dict of our C-MELT.

    Args:
        weights: all of the release's weights.
        lead_order: the 12 leads in the order of the channels they were trained with.

    Raises:
        DataError: a weight that is not known, or one that the others need is missing.
    """
    rest = {name: tensor.float() for name, tensor in weights.items() if name not in UNUSED}
    state: dict[str, Tensor] = {}
    try:
        for theirs, ours in (("language", "text"), ("ecg", "ecg")):
            weight, bias = _folded(rest, f"unimodal_{theirs}_pooler.dense", f"multi_modal_{theirs}_proj")
            state[f"{ours}_projection.dense.weight"], state[f"{ours}_projection.dense.bias"] = weight, bias
        for kind in ("weight", "bias"):
            mismatch, match = rest.pop(f"itm_head.fc.{kind}").split(1)
            state[f"etm_head.dense.{kind}"] = match - mismatch
        table = rest.pop(POSITIONS)[0]
    except KeyError as error:
        raise DataError(f"the published weights lack {error.args[0]}") from None
    if not torch.allclose(table, sinusoidal_positions(*table.shape), atol=1e-4):
        raise DataError(f"{POSITIONS} is not the sine/cosine table of the release")
    unknown = []
    for name, tensor in rest.items():
        stem, _, kind = name.rpartition(".attn.in_proj_")
        if stem:
            prefix = stem.replace("mim_head.decoder.resblocks", "mem_head.decoder.layers") + ".self_attn"
            state.update({f"{prefix}.{part}_proj.{kind}": block for part, block in zip("qkv", tensor.chunk(3))})
        elif (renamed := our_name(name)) is None:
            unknown.append(name)
        else:
            state[renamed] = tensor
    if unknown:
        raise DataError(f"weights this plugin does not know: {', '.join(unknown)}")
    state["log_logit_scale"], state["logit_bias"] = torch.tensor(0.0), torch.tensor(0.0)
    _reorder_leads(state, lead_indices(lead_order))
    _tie_embeddings(state)
    return state


def _folded(rest: dict[str, Tensor], second: str, first: str) -> tuple[Tensor, Tensor]:
    """Two linear maps as one; the second is used up, the first is also the fusion module's."""
    w1, b1 = (rest[f"{first}.{kind}"].double() for kind in ("weight", "bias"))
    w2, b2 = (rest.pop(f"{second}.{kind}").double() for kind in ("weight", "bias"))
    return (w2 @ w1).float(), (w2 @ b1 + b2).float()


def _reorder_leads(state: dict[str, Tensor], order: Sequence[int]) -> None:
    """Channels in the order of ``LEADS``: the first convolution reads them, the MEM head's last layer writes them."""
    if list(order) == list(range(len(LEADS))):
        return
    first = "ecg_encoder.feature_extractor.conv_layers.0.0.weight"
    state[first] = state[first][:, order].contiguous()
    for name in ("mem_head.predict.weight", "mem_head.predict.bias"):
        by_lead = state[name].unflatten(0, (len(LEADS), -1))
        state[name] = by_lead[order].flatten(0, 1).contiguous()


def _tie_embeddings(state: dict[str, Tensor]) -> None:
    """T5 has one table of tokens under two names; files may hold one or both."""
    names = [f"text_encoder.model.{name}.weight" for name in ("shared", "encoder.embed_tokens")]
    held = [name for name in names if name in state]
    if len(held) == 1:
        state[names[1 - names.index(held[0])]] = state[held[0]]
    elif len(held) == 2 and not torch.equal(state[names[0]], state[names[1]]):
        raise DataError("the published weights hold two different token embeddings of the text encoder")


def recognises(names: Collection[str]) -> bool:
    """Whether weights of these names are the release's."""
    return SIGN in names


def our_settings(weights: Mapping[str, Any], config: dict[str, Any] | None) -> dict[str, Any]:
    """The release's ``config.json`` → values of :class:`cmelt_plugin.models.cmelt.config.CMELTConfig`.

    None: the release's own sizes, our defaults. The weights are not asked.

    Raises:
        DataError: a setting that makes another model.
    """
    theirs = dict((config or {}).get("model") or {})
    # Older configurations say mim_… where newer ones say mem_….
    theirs = {"mem_" + name[4:] if name.startswith("mim_") else name: value for name, value in theirs.items()}
    for name, value in FIXED.items():
        if theirs.get(name, value) != value:
            raise DataError(f"{name} = {theirs[name]!r}: only {value!r} is known of the release")
    values = {ours: theirs[name] for name, ours in SETTINGS.items() if name in theirs}
    if "hidden_dim" in theirs:
        values["fusion_ffn_dim"] = 4 * theirs["hidden_dim"]
    text_encoder = {"model_type": "t5", **((config or {}).get("t5") or FLAN_T5_BASE)}
    return {
        **values,
        "text_encoder_config": json.dumps(text_encoder, sort_keys=True),
        "text_encoder_pretrained": False,
        "text_pool": "first",
        "mem_decoder_activation": "quick_gelu",
        "normalise_embeddings": False,
        "learn_logit_scale": False,
    }
