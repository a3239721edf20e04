"""The weights MELP's authors published, in this plugin's MELP: a whole Lightning checkpoint, or the ECG encoder alone.

Most weights need another name and nothing else. Stored differently are:

- the two projections that are plain matrices, which here are linear layers;
- query, key and value of an attention: three matrices where widths differ, else one;
- channels, in the order in which MIMIC-IV-ECG stores leads, aVF before aVL; here they are put into ours.

The release carries weights that nothing reads: wav2vec 2.0's for its own pre-training, BERT's head, a batch norm, a second
temperature. They are dropped by name. The encoder alone also has a pooler for the captioner, which is not there: dropped, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.leads import MIMIC_IV_ECG_LEADS, lead_indices
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.foreign_weights import HEAD_WIDTH, bert_settings, split_attention
from cmelt_plugin.models.melp.config import MELPConfig

LEAD_ORDER = MIMIC_IV_ECG_LEADS
MAX_TEXT_TOKENS = 127  # of 128, for one sums up the text
SIGN = "ecg_encoder.attn_pool_contrast.query"  # a name no other model has
TEXT = "lm_model.bert."
WAV2VEC = "ecg_encoder.ecg_encoder."
# [CLS] and [SEP] of the vocabulary that the published text encoder was trained with; [BOS] was added behind its last word.
CLS, SEP = 2, 3

UNUSED = re.compile(
    r"ecg_encoder\.ecg_encoder\.(mask_emb|quantizer\..+|project_q\..+|final_proj\..+)"
    r"|ecg_encoder\.(logit_scale|bn\..+)|lm_model\.cls\..+|lm_model\.bert\.embeddings\.position_ids"
)
CAPTION_POOL = ("ecg_encoder.attn_pool_caption.", "ecg_encoder.ln_caption.")
STEMS = {
    "ecg_encoder.ln_contrast": "ecg_tower.contrast_pool.out_norm",
    "ecg_encoder.ln_caption": "caption_pool.out_norm",
    "proj_t.0": "text_projection.0",
    "proj_t.2": "text_projection.2",
    "sent_proj": "sentence_projection",
    "text_decoder.ln_final": "decoder.layer_norm",
}
POOLS = {"contrast": "ecg_tower.contrast_pool", "caption": "caption_pool"}
POOL_PARTS = {"ln_q": "query_norm", "ln_k": "context_norm", "attn.out_proj": "attention.out_proj"}
LAYERS = {"resblocks": ("self_layers", "self_attn"), "cross_attn": ("cross_layers", "cross_attn")}
LAYER_PARTS = {"ln_1_kv": "context_layer_norm", "ln_2": "final_layer_norm", "mlp.c_fc": "fc1", "mlp.c_proj": "fc2"}
FIRST_CONVOLUTION = "ecg_tower.encoder.feature_extractor.conv_layers.0.0.weight"
_POOL = re.compile(r"ecg_encoder\.attn_pool_(contrast|caption)\.(.+)")
_LAYER = re.compile(r"text_decoder\.(resblocks|cross_attn)\.(\d+)\.(.+)")


def our_name(name: str) -> str | None:
    """Our name of a weight of theirs that is stored alike; None for another or an unknown one."""
    if name.startswith(WAV2VEC):
        return f"ecg_tower.encoder.{name[len(WAV2VEC) :]}"
    if name.startswith(TEXT):
        return f"text_encoder.model.{name[len(TEXT) :]}"
    stem, _, kind = name.rpartition(".")
    if stem in STEMS:
        return f"{STEMS[stem]}.{kind}"
    pool, layer = _POOL.fullmatch(stem), _LAYER.fullmatch(stem)
    if pool is not None:
        part = POOL_PARTS.get(pool[2])
        return None if part is None else f"{POOLS[pool[1]]}.{part}.{kind}"
    if layer is not None:
        layers, attention = LAYERS[layer[1]]
        own = {"ln_1": f"{attention}_layer_norm", "attn.out_proj": f"{attention}.out_proj"}
        part = {**LAYER_PARTS, **own}.get(layer[3])
        return None if part is None else f"decoder.{layers}.{layer[2]}.{part}.{kind}"
    return None


def _attention(name: str) -> tuple[str, str] | None:
    """Of a weight of an attention's inputs our name of the attention, and theirs of the weight; None for any other."""
    stem, _, kind = name.rpartition(".attn.")
    if not re.fullmatch(r"in_proj_(weight|bias)|[qkv]_proj_weight", kind):
        return None
    for prefix, ours in POOLS.items():
        if stem == f"ecg_encoder.attn_pool_{prefix}":
            return f"{ours}.attention", kind
    layer = _LAYER.fullmatch(f"{stem}.attn")
    return None if layer is None else (f"decoder.{LAYERS[layer[1]][0]}.{layer[2]}.{LAYERS[layer[1]][1]}", kind)


def convert(weights: dict[str, Tensor], lead_order: Sequence[str] = LEAD_ORDER) -> dict[str, Tensor]:
    """The release's state dict → the state dict of our MELP, or of its ECG encoder alone.

    Args:
        weights: all of the release's weights.
        lead_order: the 12 leads in the order of the channels they were trained with.

    Raises:
        DataError: a weight that is not known, or one that another needs is missing.
    """
    dropped = CAPTION_POOL if _is_encoder(weights) else ()
    rest = {name: tensor for name, tensor in weights.items() if not UNUSED.fullmatch(name) and not name.startswith(dropped)}
    state: dict[str, Tensor] = {}
    try:
        state["ecg_projection.weight"] = rest.pop("ecg_encoder.proj_contrast").T.contiguous()
        state["ecg_tower.contrast_pool.queries"] = rest.pop(SIGN)
        if not _is_encoder(weights):
            state["caption_pool.queries"] = rest.pop("ecg_encoder.attn_pool_caption.query")
            state["decoder.vocabulary.weight"] = rest.pop("text_decoder.text_projection").T.contiguous()
            state["log_logit_scale"] = rest.pop("logit_scale")
            state["log_beat_scale"] = torch.full((), MELPConfig.beat_scale_init).log()
    except KeyError as error:
        raise DataError(f"the published weights lack {error.args[0]}") from None
    unknown = []
    for name, tensor in rest.items():
        attention = _attention(name)
        if attention is None:
            renamed = our_name(name)
            if renamed is None:
                unknown.append(name)
            else:
                state[renamed] = tensor
        elif attention[1].startswith("in_proj_"):
            split_attention(state, attention[0], attention[1][len("in_proj_") :], tensor)
        else:
            state[f"{attention[0]}.{attention[1][0]}_proj.weight"] = tensor
    if unknown:
        raise DataError(f"weights this plugin does not know: {', '.join(sorted(unknown))}")
    if FIRST_CONVOLUTION in state:
        state[FIRST_CONVOLUTION] = state[FIRST_CONVOLUTION][:, lead_indices(lead_order)].contiguous()
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _is_encoder(names: Collection[str]) -> bool:
    return not any(name.startswith("lm_model.") for name in names)


def recognises(names: Collection[str]) -> bool:
    """Whether weights of these names are the release's."""
    return SIGN in names


def our_settings(weights: Mapping[str, Any], config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Values of :class:`cmelt_plugin.models.melp.config.MELPConfig` for the release's weights, from their shapes.

    Args:
        weights: name → anything with ``shape``.
        config: ``ecg_heads`` and ``text_heads``, attention heads of ECG encoder and BERT, which no shape tells (default: one
            per 64 channels), and ``attn_pooler_heads`` of the poolers (default: 8); other entries are not read.

    Raises:
        DataError: a weight that tells a size is missing.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    config = config or {}
    try:
        values = {**_ecg_settings(shapes, config), "normalisation": "min_max"}
        if _is_encoder(shapes):
            return {**values, "ecg_only": True}
        bert = bert_settings(shapes, TEXT, config.get("text_heads"))
        free_layers = max(0, bert["num_hidden_layers"] - 6)
        return {
            **values,
            "n_caption_queries": shapes["ecg_encoder.attn_pool_caption.query"][0],
            "projection_dim": shapes["proj_t.0.weight"][0],
            "decoder_layers": _count(shapes, r"text_decoder\.resblocks\.\d+\.ln_1\.weight"),
            "text_encoder_config": json.dumps(bert, sort_keys=True),
            "text_encoder_pretrained": False,
            "text_free_layers": free_layers,
            "text_free_embeddings": True,
            "text_layout": "released",
            "begin_token": bert["vocab_size"] - 1,
            "end_token": SEP,
            "summary_token": CLS,
            "learn_beat_scale": False,
            "local_form": "gloria",
        }
    except KeyError as error:
        raise DataError(f"the published weights lack {error.args[0]}") from None


def _ecg_settings(shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> dict[str, Any]:
    width, channels = shapes[f"{WAV2VEC}post_extract_proj.weight"]
    positions = shapes[f"{WAV2VEC}conv_pos.pos_conv.0.parametrizations.weight.original1"]
    n_convolutions = _count(shapes, re.escape(WAV2VEC) + r"feature_extractor\.conv_layers\.\d+\.0\.weight")
    return {
        "conv_feature_layers": f"[({channels}, 2, 2)] * {n_convolutions}",
        "conv_pos": positions[2],
        "conv_pos_groups": width // positions[1],
        "encoder_embed_dim": width,
        "encoder_layers": _count(shapes, re.escape(WAV2VEC) + r"encoder\.layers\.\d+\.fc1\.weight"),
        "encoder_attention_heads": config.get("ecg_heads") or width // HEAD_WIDTH,
        "encoder_ffn_embed_dim": shapes[f"{WAV2VEC}encoder.layers.0.fc1.weight"][0],
        "n_queries": shapes[SIGN][0],
        "embed_dim": shapes[SIGN][1],
        "pool_heads": config.get("attn_pooler_heads") or 8,
    }


def _count(names: Collection[str], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in names)
