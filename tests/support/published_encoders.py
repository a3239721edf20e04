"""Small random weights under the names and in the shapes of published ECG encoders, from tables of both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
HUBERT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "conv_bias": False,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "do_stable_layer_norm": False,
    # What their file also says, and what would bring code along.
    "model_type": "hubert_ecg",
    "vocab_sizes": [10],
    "auto_map": {"AutoModel": "hubert_ecg.HuBERTECG"},
}


def fairseq_wav2vec(tuned: bool = False) -> Shapes:
    """A wav2vec 2.0 or CMSC model of fairseq-signals; ``tuned``: a classifier on it."""
    width, inner, channels = 64, 48, 16
    shapes: Shapes = {
        "feature_extractor.conv_layers.0.0.weight": (channels, 12, 2),
        "feature_extractor.conv_layers.0.2.weight": (channels,),
        "feature_extractor.conv_layers.0.2.bias": (channels,),
        **{f"feature_extractor.conv_layers.{number}.0.weight": (channels, channels, 2) for number in (1, 2, 3)},
        **_both("layer_norm", channels),
        **_both("post_extract_proj", width, channels),
        "conv_pos.pos_conv.0.bias": (width,),
        "conv_pos.pos_conv.0.weight_g": (1, 1, 8),
        "conv_pos.pos_conv.0.weight_v": (width, width // 4, 8),
        **_both("encoder.layer_norm", width),
    }
    for number in range(2):
        layer = f"encoder.layers.{number}"
        for part in "qkv":
            shapes.update(_both(f"{layer}.self_attn.{part}_proj", width, width))
        shapes.update(_both(f"{layer}.self_attn.out_proj", width, width))
        shapes.update({**_both(f"{layer}.self_attn_layer_norm", width), **_both(f"{layer}.final_layer_norm", width)})
        shapes.update({**_both(f"{layer}.fc1", inner, width), **_both(f"{layer}.fc2", width, inner)})
    if tuned:
        return {**{f"encoder.{name}": shape for name, shape in shapes.items()}, **_both("proj", 5, width)}
    shapes.update({"mask_emb": (width,), "quantizer.vars": (1, 8, 4), **_both("quantizer.weight_proj", 8, channels)})
    return {**shapes, **_both("project_q", 8, 8), **_both("final_proj", 8, width)}


def ecg_founder(leads: int = 12) -> Shapes:
    """A network of ECGFounder's, with the batch norms that nothing reads."""
    shapes: Shapes = {**_both("first_conv.conv", 8, leads, 4), **_norm("first_bn", 8)}
    width = 8
    for stage, (out, blocks) in enumerate(((8, 2), (12, 1))):
        for number in range(blocks):
            block = f"stage_list.{stage}.block_list.{number}"
            shapes.update({**_norm(f"{block}.bn1", width), **_norm(f"{block}.bn2", out), **_norm(f"{block}.bn3", out)})
            shapes.update(_both(f"{block}.conv1.conv", out, width, 1))
            shapes.update({**_both(f"{block}.conv2.conv", out, 4, 4), **_both(f"{block}.conv3.conv", out, out, 1)})
            shapes.update({**_both(f"{block}.se_fc1", out // 2, out), **_both(f"{block}.se_fc2", out, out // 2)})
            width = out
    return {**shapes, **_both("dense", 150, width)}


def hubert_ecg(tuned: bool = False) -> Shapes:
    """A HuBERT-ECG of :data:`HUBERT`; ``tuned``: a classifier on it."""
    shapes: Shapes = {
        "feature_extractor.conv_layers.0.conv.weight": (8, 1, 10),
        **_both("feature_extractor.conv_layers.0.layer_norm", 8),
        "feature_extractor.conv_layers.1.conv.weight": (8, 8, 3),
        **_both("feature_projection.layer_norm", 8),
        **_both("feature_projection.projection", 16, 8),
        "encoder.pos_conv_embed.conv.bias": (16,),
        "encoder.pos_conv_embed.conv.weight_g": (1, 1, 8),
        "encoder.pos_conv_embed.conv.weight_v": (16, 8, 8),
        **_both("encoder.layer_norm", 16),
    }
    for part in "qkv":
        shapes.update(_both(f"encoder.layers.0.attention.{part}_proj", 16, 16))
    shapes.update({**_both("encoder.layers.0.attention.out_proj", 16, 16), **_both("encoder.layers.0.layer_norm", 16)})
    shapes.update(_both("encoder.layers.0.feed_forward.intermediate_dense", 24, 16))
    shapes.update(_both("encoder.layers.0.feed_forward.output_dense", 16, 24))
    shapes.update(_both("encoder.layers.0.final_layer_norm", 16))
    if tuned:
        return {**{f"hubert_ecg.{name}": shape for name, shape in shapes.items()}, **_both("classifier", 5, 16)}
    return {**shapes, "masked_spec_embed": (16,), **_both("final_proj.0", 8, 16), "label_embedding.0.weight": (10, 8)}


def weights(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _both(name: str, out: int, *rest: int) -> Shapes:
    return {f"{name}.weight": (out, *rest), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.{kind}": (width,) for kind in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": (1,)
    }
