"""Poolers and captioner as open_clip writes them (CoCa, Yu et al. 2022): ``nn.MultiheadAttention`` that returns no weights,
which is PyTorch's fused attention.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from benchmarks.naive.attention import Weights, multi_head
from benchmarks.naive.bert import causal_bias


def pool(weights: Weights, states: Tensor, heads: int) -> Tensor:
    """Learned queries attend to the states: ``[B, N, C]`` → ``[B, Q, D]``; every record has a copy of the queries."""
    queries = weights.layer_norm("query_norm", weights["queries"]).unsqueeze(0).expand(len(states), -1, -1)
    context = weights.layer_norm("context_norm", states)
    out = multi_head(weights.below("attention"), queries, context, None, heads, 0.0, eager=False)
    return weights.layer_norm("out_norm", out)


def caption_logits(weights: Weights, cfg: Any, x: Tensor, context: Tensor) -> Tensor:
    """States of tokens ``[B, N, D]``, caption tokens ``[B, S, D]`` → vocabulary logits at every place, ``[B, N, V]``."""
    causal = causal_bias(x.shape[1], None, x.device)
    for number in range(cfg.decoder_layers):
        own, cross = weights.below(f"self_layers.{number}"), weights.below(f"cross_layers.{number}")
        states = own.layer_norm("self_attn_layer_norm", x)
        x = x + multi_head(own.below("self_attn"), states, states, causal, cfg.decoder_heads, 0.0, eager=False)
        x = x + _dense(own, x)
        states, keys = cross.layer_norm("cross_attn_layer_norm", x), cross.layer_norm("context_layer_norm", context)
        x = x + multi_head(cross.below("cross_attn"), states, keys, None, cfg.decoder_heads, 0.0, eager=False)
        x = x + _dense(cross, x)
    return weights.linear("vocabulary", weights.layer_norm("layer_norm", x))


def _dense(weights: Weights, x: Tensor) -> Tensor:
    return weights.linear("fc2", F.gelu(weights.linear("fc1", weights.layer_norm("final_layer_norm", x))))
