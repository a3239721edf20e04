"""Training steps of a classifier under torch's data-parallel wrapper, in one of two processes. No test code here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from cmelt_plugin import host
from cmelt_plugin.losses.classification import multi_label_loss
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.models.classifier.model import Classifier

UPDATES = 4


def tiny_config(**changes: Any) -> ClassifierConfig:
    """A classifier of the sizes of ``tiny.tiny_model``, without dropout."""
    sizes = {
        "conv_feature_layers": "[(16, 2, 2)] * 4",
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "encoder_embed_dim": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_embed_dim": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "num_classes": 3,
        "class_names": ["a", "b", "c"],
    }
    return ClassifierConfig(**{**sizes, **changes})


def train(batches: list[tuple[Tensor, Tensor]], freeze_updates: int, parallel: bool) -> list[dict[str, Tensor]]:
    """A few updates with Adam and weight decay; the state of the model after each."""
    torch.manual_seed(0)
    model = Classifier.build_model(tiny_config(freeze_updates=freeze_updates))
    wrapped = DistributedDataParallel(model) if parallel else model
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1)
    states = []
    for update, (ecg, labels) in enumerate(batches):
        optimizer.zero_grad(set_to_none=True)
        wrapped.train()
        model.set_num_updates(update)
        loss = multi_label_loss(wrapped(ecg=ecg)["logits"], labels)
        (loss.total / loss.records).backward()
        host.drop_gradients(optimizer, model.held_parameters())
        optimizer.step()
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return states
