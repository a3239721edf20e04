"""A MERL of a few thousand weights, and weights of that size under the names of its authors' release."""

from __future__ import annotations

import json
from typing import Any

import torch
from tiny import VOCAB
from torch import Tensor

TEXT_WIDTH = 32
TINY_BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": VOCAB,
    "hidden_size": TEXT_WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "resnet18": {"ecg_encoder": "resnet18", "ecg_width": 4},
    "vit_tiny": {"ecg_encoder": "vit_tiny", "ecg_width": 16, "ecg_layers": 2, "ecg_heads": 2},
}
TINY_MERL: dict[str, Any] = {
    "embed_dim": 16,
    "projection_dim": 24,
    "text_encoder_config": json.dumps(TINY_BERT),
    "text_encoder_pretrained": False,
}


def tiny_merl(encoder: str = "resnet18", **changes: Any) -> Any:
    """A MERL with random weights; every text gets other text features, which BERT's own initialisation hardly does."""
    from cmelt_plugin.models.merl.config import MERLConfig
    from cmelt_plugin.models.merl.model import MERL

    model = MERL.build_model(MERLConfig(**{**TINY_MERL, **ENCODERS[encoder], **changes}))
    for parameter in model.text_encoder.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def batch(n: int = 4, samples: int = 800, seed: int = 0) -> dict[str, Tensor]:
    """ECGs in mV and texts of several lengths, as the model takes them."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(3, VOCAB - 2, (n, 7), generator=generator)
    padding = torch.arange(7) >= torch.randint(3, 8, (n, 1), generator=generator)
    return {
        "ecg": torch.randn(n, 12, samples, generator=generator) * 0.3,
        "text": text.masked_fill(padding, 0),
        "text_padding_mask": padding,
    }


def release_weights(encoder: str, seed: int = 0) -> dict[str, Tensor]:
    """Random weights as the release names and stores them."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, *rest: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, *rest)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, width: int, statistics: bool = True) -> None:
        for kind in ("weight", "bias", *(("running_mean", "running_var") if statistics else ())):
            shapes[f"{name}.{kind}"] = (width,)
        if statistics:
            shapes[f"{name}.num_batches_tracked"] = ()

    width = ENCODERS[encoder]["ecg_width"]
    if encoder == "resnet18":
        linear("ecg_encoder.conv1", width, 12, 7, bias=False)
        norm("ecg_encoder.bn1", width)
        channels = width
        for stage in range(4):
            for block in range(2):
                prefix, out = f"ecg_encoder.layer{stage + 1}.{block}", width << stage
                linear(f"{prefix}.conv1", out, channels, 3, bias=False)
                linear(f"{prefix}.conv2", out, out, 3, bias=False)
                norm(f"{prefix}.bn1", out)
                norm(f"{prefix}.bn2", out)
                if out != channels:
                    linear(f"{prefix}.shortcut.0", out, channels, 1, bias=False)
                    norm(f"{prefix}.shortcut.1", out)
                channels = out
        linear("ecg_encoder.linear", 10, channels)
        linear("downconv", 16, channels, 1)
        shapes["att_pool_head.positional_embedding"] = (1, 314, 16)
        shapes["att_pool_head.cls_token"] = (1, 1, 16)
        shapes["att_pool_head.mhsa.in_proj_weight"] = (48, 16)
        shapes["att_pool_head.mhsa.in_proj_bias"] = (48,)
        linear("att_pool_head.mhsa.out_proj", 16, 16)
        linear("att_pool_head.c_proj", 16, 16)
        view = 16
    else:
        linear("ecg_encoder.to_patch_embedding", width, 12, 50, bias=False)
        shapes["ecg_encoder.pos_embedding"] = (1, 100, width)
        for block in range(ENCODERS[encoder]["ecg_layers"]):
            prefix = f"ecg_encoder.block{block}"
            norm(f"{prefix}.attn.norm", width, statistics=False)
            linear(f"{prefix}.attn.fn.to_qkv", 3 * width, width)
            linear(f"{prefix}.attn.fn.to_out.0", width, width)
            norm(f"{prefix}.ff.norm", width, statistics=False)
            linear(f"{prefix}.ff.fn.net.0", 4 * width, width)
            linear(f"{prefix}.ff.fn.net.3", width, 4 * width)
        norm("ecg_encoder.norm", width, statistics=False)
        linear("proj_e.0", 24, width)
        norm("proj_e.1", 24)
        linear("proj_e.3", 16, 24)
        norm("proj_e.4", 16)
        view = width
    linear("linear1", 16, view, bias=False)
    linear("linear2", 16, view, bias=False)
    linear("proj_t.0", 24, TEXT_WIDTH)
    linear("proj_t.2", 16, 24)
    text = tiny_merl(encoder, text_pool="pooler").text_encoder.model.state_dict()
    shapes.update({f"lm_model.{name}": tuple(tensor.shape) for name, tensor in text.items()})
    weights = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}
    for name in weights:
        if name.endswith("running_var"):
            weights[name] = weights[name].abs() + 0.5
        elif name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
    return weights
