"""Fusion and the heads, with vocabulary logits at every position of every text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.naive.attention import BERT_EPSILON, Mode, Weights, multi_head, transformer_layer
from benchmarks.naive.ecg_encoder import Encoded


def fuse(
    weights: Weights, cfg: Any, text: Tensor, ecg: Tensor, text_padding: Tensor, mode: Mode
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-modal layers: fused text ``[B, L, D]``, fused ECG ``[B, 1 + K, D]``, and the ECG stream the MEM head reads."""
    dropout = cfg.dropout if mode.dropout else 0.0
    kinds = weights["modality_type.weight"]
    text = weights.linear("text_proj", text) + kinds[0]
    ecg = weights.linear("ecg_proj", ecg) + kinds[1]
    for_mem = ecg
    for number in range(cfg.fusion_layers):
        if number == cfg.mem_layer:
            for_mem = ecg
        arguments = (cfg.fusion_heads, dropout, dropout, mode.eager)
        text_layer, ecg_layer = weights.below(f"text_layers.{number}"), weights.below(f"ecg_layers.{number}")
        new_text = transformer_layer(text_layer, text, text_padding, *arguments, ecg, None)
        new_ecg = transformer_layer(ecg_layer, ecg, None, *arguments, text, text_padding)
        text, ecg = new_text, new_ecg
    return text, ecg, ecg if cfg.mem_layer == -1 else for_mem


def vocabulary_logits(weights: Weights, states: Tensor) -> Tensor:
    """``[..., D]`` → ``[..., V]``; the bias is an operation of its own."""
    x = weights.layer_norm("layer_norm", F.gelu(weights.linear("dense", states)), BERT_EPSILON)
    return F.linear(x, weights["decoder.weight"]) + weights["decoder.bias"]


def reconstruct(weights: Weights, cfg: Any, states: Tensor, encoded: Encoded) -> Tensor:
    """Samples of every token, ``[B, N, samples × leads]``, from the visible states."""
    x = weights.linear("embed", states)
    cls, tokens = x[:, :1], x[:, 1:]
    fill = weights["mask_token"].to(x.dtype).expand(len(x), encoded.restore.shape[1] - tokens.shape[1], -1)
    tokens = torch.cat([tokens, fill], dim=1).gather(1, encoded.restore[..., None].expand(-1, -1, x.shape[2]))
    x = torch.cat([cls, tokens], dim=1)
    x = x + _sinusoids(x.shape[1], x.shape[2], x.device).to(x.dtype)
    decoder = weights.below("decoder")
    activation = F.gelu if cfg.mem_decoder_activation == "gelu" else lambda values: values * torch.sigmoid(1.702 * values)
    for number in range(cfg.mem_decoder_layers):
        layer = decoder.below(f"layers.{number}")
        normed = layer.layer_norm("self_attn_layer_norm", x)
        x = x + multi_head(layer.below("self_attn"), normed, normed, None, cfg.mem_decoder_heads, 0.0, eager=False)
        normed = layer.layer_norm("final_layer_norm", x)
        x = x + layer.linear("fc2", activation(layer.linear("fc1", normed)))
    return weights.linear("predict", decoder.layer_norm("layer_norm", x)[:, 1:])


def pool(weights: Weights, states: Tensor, padding_mask: Tensor | None, how: str) -> Tensor:
    """First state, or mean over real tokens, through a dense layer and tanh: ``[B, L, D]`` → ``[B, D]``."""
    if how == "first":
        vector = states[:, 0]
    else:
        real = torch.ones_like(states[..., 0]) if padding_mask is None else (~padding_mask).to(states.dtype)
        vector = (states * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
    return torch.tanh(weights.linear("dense", vector))


def _sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    angle = torch.arange(length, device=device).float()[:, None] / 10000 ** (torch.arange(0, width, 2, device=device) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]
