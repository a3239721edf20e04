"""A MELP of a few thousand weights, and weights of that size under the names of its authors' release."""

from __future__ import annotations

import json
from typing import Any

import torch
from tiny import TINY_MODEL, VOCAB, tiny_t5_config
from torch import Tensor, nn

BEGIN, END, SUMMARY = 4, 3, 2
TINY_BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 160,
    "type_vocab_size": 2,
}
TEXT_ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {
        "text_encoder_config": json.dumps(TINY_BERT),
        "begin_token": BEGIN,
        "end_token": END,
        "summary_token": SUMMARY,
    },
    "t5": {"text_encoder_config": tiny_t5_config()},
}
TINY_MELP: dict[str, Any] = {
    **{name: value for name, value in TINY_MODEL.items() if name.startswith(("conv_", "encoder_"))},
    "resnet_width": 4,
    "embed_dim": 16,
    "n_queries": 5,
    "pool_heads": 4,
    "n_caption_queries": 7,
    "projection_dim": 24,
    "decoder_layers": 2,
    "decoder_heads": 4,
    "text_encoder_pretrained": False,
    "text_free_layers": 1,
}


def tiny_melp(text: str = "bert", **changes: Any) -> Any:
    """A MELP with random weights, with which every output depends visibly on every input; in training mode."""
    from cmelt_plugin.models.melp.config import MELPConfig
    from cmelt_plugin.models.melp.model import MELP

    torch.manual_seed(0)
    model = MELP.build_model(MELPConfig(**{**TINY_MELP, **TEXT_ENCODERS[text], **changes}))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.2)
    return model


def batch(text: str = "bert", samples: int = 800, seed: int = 0) -> dict[str, Tensor]:
    """Four ECGs in mV and texts of several lengths, as their tokenizer gives them, with one to three sentences."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(5, VOCAB - 2, (4, 8), generator=generator)
    lengths = torch.tensor([8, 5, 3, 6])
    last = lengths[:, None] - 1 == torch.arange(8)
    ids = words.masked_fill(last, END if text == "bert" else 1)
    first = 0
    if text == "bert":
        ids[:, 0], first = SUMMARY, 1
    spans = torch.tensor(
        [[[0, 2], [2, 4], [4, 5]], [[0, 2], [2, 3], [0, 0]], [[0, 1], [0, 0], [0, 0]], [[0, 4], [0, 0], [0, 0]]]
    )
    padding = torch.arange(8) >= lengths[:, None]
    no_sentence = spans[..., 1] == 0
    waves = torch.sin(torch.arange(samples) * torch.tensor([0.02, 0.2, 0.7, 1.6])[:, None])  # no two records alike
    return {
        "ecg": 0.3 * waves[:, None] + 0.1 * torch.randn(4, 12, samples, generator=generator),
        "text": ids.masked_fill(padding, 0),
        "text_padding_mask": padding,
        "sentence_spans": (spans + first).masked_fill(no_sentence[..., None], 0),
        "sentence_padding_mask": no_sentence,
    }


def release_weights(seed: int = 0, encoder_alone: bool = False) -> dict[str, Tensor]:
    """Random weights as the release names and stores them; of the published ECG encoder alone."""
    width, shared, text, vocabulary, ffn, layers = 32, 16, 32, VOCAB, 64, 2
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, *rest: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, *rest)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, size: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)

    wav2vec = "ecg_encoder.ecg_encoder"
    for index in range(4):
        linear(f"{wav2vec}.feature_extractor.conv_layers.{index}.0", 16, 16 if index else 12, 2, bias=False)
    norm(f"{wav2vec}.feature_extractor.conv_layers.0.2", 16)
    norm(f"{wav2vec}.layer_norm", 16)
    linear(f"{wav2vec}.post_extract_proj", width, 16)
    positions = f"{wav2vec}.conv_pos.pos_conv.0"
    shapes[f"{positions}.bias"] = (width,)
    shapes[f"{positions}.parametrizations.weight.original0"] = (1, 1, 16)
    shapes[f"{positions}.parametrizations.weight.original1"] = (width, width // 4, 16)
    norm(f"{wav2vec}.encoder.layer_norm", width)
    for index in range(layers):
        layer = f"{wav2vec}.encoder.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{layer}.self_attn.{part}", width, width)
        linear(f"{layer}.fc1", ffn, width)
        linear(f"{layer}.fc2", width, ffn)
        norm(f"{layer}.self_attn_layer_norm", width)
        norm(f"{layer}.final_layer_norm", width)
    shapes[f"{wav2vec}.mask_emb"] = (width,)
    shapes[f"{wav2vec}.quantizer.vars"] = (1, 16, 8)
    for name in ("quantizer.weight_proj", "project_q", "final_proj"):
        linear(f"{wav2vec}.{name}", 16, 16)
    shapes.update({"ecg_encoder.logit_scale": (), "ecg_encoder.proj_contrast": (shared, shared)})
    shapes.update({f"ecg_encoder.bn.{name}": (width,) for name in ("running_mean", "running_var")})
    for name, n_queries, size in (("contrast", 6, shared), ("caption", 7, text)):
        pool = f"ecg_encoder.attn_pool_{name}"
        shapes[f"{pool}.query"] = (n_queries, size)
        norm(f"{pool}.ln_q", size)
        norm(f"{pool}.ln_k", width)
        norm(f"ecg_encoder.ln_{name}", size)
        shapes[f"{pool}.attn.in_proj_bias"] = (3 * size,)
        if size == width:
            shapes[f"{pool}.attn.in_proj_weight"] = (3 * size, size)
        else:
            shapes.update({f"{pool}.attn.{part}_proj_weight": (size, size if part == "q" else width) for part in "qkv"})
        linear(f"{pool}.attn.out_proj", size, size)
    if not encoder_alone:
        bert = tiny_melp().text_encoder.model.state_dict()
        shapes.update({f"lm_model.bert.{name}": tuple(tensor.shape) for name, tensor in bert.items()})
        linear("lm_model.cls.predictions.decoder", vocabulary, text)
        linear("lm_model.cls.predictions.transform.dense", text, text)
        linear("proj_t.0", 24, text)
        linear("proj_t.2", shared, 24)
        linear("sent_proj", shared, text)
        shapes.update({"logit_scale": (), "text_decoder.text_projection": (text, vocabulary)})
        norm("text_decoder.ln_final", text)
        for index in range(layers):
            for kind, norms in (("resblocks", ("ln_1", "ln_2")), ("cross_attn", ("ln_1", "ln_1_kv", "ln_2"))):
                layer = f"text_decoder.{kind}.{index}"
                shapes[f"{layer}.attn.in_proj_weight"], shapes[f"{layer}.attn.in_proj_bias"] = (3 * text, text), (3 * text,)
                linear(f"{layer}.attn.out_proj", text, text)
                linear(f"{layer}.mlp.c_fc", 4 * text, text)
                linear(f"{layer}.mlp.c_proj", text, 4 * text)
                for name in norms:
                    norm(f"{layer}.{name}", text)
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}
    weights["ecg_encoder.bn.num_batches_tracked"] = torch.tensor(0)
    return weights
