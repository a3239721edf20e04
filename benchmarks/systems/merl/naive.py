"""The two losses of MERL computed the way of the authors' release, from the parameters of a model of ours.

The frozen text encoder reads every report of every batch anew, padded to 256 tokens and with dropout, without gradients. ECG
tower and views cost there what ours cost, so that those of the model are called.

What is computed is ours where the release computes something else (the state of [CLS] for BERT's pooler, learned
temperatures); how it is computed is the release's, which costs the same there.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness.profiling import part
from benchmarks.naive.attention import Weights
from benchmarks.naive.bert import encode_texts

LENGTH, PAD = 256, 0


class Mode(NamedTuple):
    """How the naive model computes; the defaults are the way of the authors' release in everything.

    Attributes:
        dropout: as configured, in the frozen text encoder, too; False: none there, for comparing losses.
        fixed_length: texts of 256 tokens, not as long as the longest.
    """

    dropout: bool = True
    fixed_length: bool = True


class NaiveMERL:
    """Another way through the same weights.

    Args:
        model: a ``cmelt_plugin.models.merl.model.MERL`` with a frozen BERT, whose texts are summed up by their first state.
        mode: None: naive in everything.

    Raises:
        ValueError: another model than that.
    """

    def __init__(self, model: Any, mode: Mode | None = None) -> None:
        self.model, self.mode = model, mode or Mode()
        self.sizes = json.loads(model.cfg.text_encoder_config)
        if self.sizes["model_type"] != "bert" or not model.text_is_cacheable or model.cfg.text_pool != "first":
            raise ValueError("the naive model knows a frozen BERT and text_pool=first only")

    def losses(self, sample: dict[str, Any]) -> dict[str, Tensor]:
        """``cma, uma``, each per row of the batch, and their sum ``loss``.

        Args:
            sample: a training batch of ``PretrainingDataset`` without padded records and without masked leads.
        """
        model, inputs = self.model, sample["net_input"]
        weights = Weights(dict(model.named_parameters()))
        ids = inputs["text"].masked_fill(inputs["text_padding_mask"], PAD)
        padding = inputs["text_padding_mask"]
        if self.mode.fixed_length:
            more = LENGTH - ids.shape[1]
            ids, padding = F.pad(ids, (0, more), value=PAD), F.pad(padding, (0, more), value=True)
        with part("text_encoder"), torch.no_grad():
            vector = encode_texts(weights.below("text_encoder.model"), self.sizes, ids, padding, self.mode.dropout)[:, 0]
        text = weights.linear("text_projection.2", F.gelu(weights.linear("text_projection.0", vector)))
        tower = model.ecg_tower(inputs["ecg"])
        views = [model.view_dropout(F.linear(tower.view_input, weights[f"views.{number}.weight"])) for number in range(2)]
        losses = {
            "cma": contrast(tower.projected, text, weights["log_logit_scale"]),
            "uma": contrast(views[0], views[1], weights["log_uma_scale"]),
        }
        losses["loss"] = losses["cma"] + losses["uma"]
        return losses


def contrast(first: Tensor, second: Tensor, log_scale: Tensor) -> Tensor:
    """Cross-entropy of both directions, added up; every other row is a negative."""
    first, second = F.normalize(first.float(), dim=-1), F.normalize(second.float(), dim=-1)
    logits, own = log_scale.exp() * first @ second.T, torch.arange(len(first), device=first.device)
    return F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
