"""Models, batches and training steps at the sizes of the paper, without files: weights are random."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Callable
from unittest.mock import patch

import numpy as np
import torch
import yaml
from torch import Tensor

from benchmarks.harness.machine import REPOSITORY
from benchmarks.harness.profiling import BACKWARD, FORWARD, OPTIMISER, part
from cmelt_plugin import host, register
from cmelt_plugin.data.text.word_masking import WordMasker
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.models.cmelt.criterion import CMELTCriterionConfig, CompositeCriterion
from cmelt_plugin.models.cmelt.model import CMELT
from cmelt_plugin.modules import compiling

CONFIGURATION = REPOSITORY / "examples" / "pretrain" / "cmelt_base.yaml"
CHECKPOINTING = "checkpoint_activations"
"""Field of the model's configuration that turns activation checkpointing on."""

# Flan-T5-base's encoder; of 32,128 rows 32,100 are tokens, the last 100 of them <extra_id_99> … <extra_id_0>.
PAPER_TEXT = {"vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12}
TINY_TEXT = {"vocab_size": 160, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
N_SENTINELS = 100
TINY: dict[str, Any] = {
    "conv_feature_layers": "[(16, 2, 2)] * 4",
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "encoder_embed_dim": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_embed_dim": 64,
    "fusion_dim": 32,
    "fusion_layers": 2,
    "fusion_heads": 4,
    "fusion_ffn_dim": 64,
    "mem_layer": 1,
    "mem_decoder_dim": 16,
    "mem_decoder_layers": 1,
    "mem_decoder_heads": 2,
}

register()  # the optimiser of the configurations among them


def build_model(tiny: bool = False, device: str = "cpu", seed: int = 0, **changes: Any) -> CMELT:
    """A C-MELT with random weights, of the paper's sizes or tiny, in training mode."""
    text = {"model_type": "t5", "feed_forward_proj": "gated-gelu", "dropout_rate": 0.1, **(TINY_TEXT if tiny else PAPER_TEXT)}
    values = {"text_encoder_pretrained": False, "text_encoder_config": json.dumps(text), **(TINY if tiny else {}), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CMELT.build_model(CMELTConfig(**values))
    return model.to(device).train()


def twin(model: CMELT, **changes: Any) -> CMELT:
    """A model of another configuration that holds the very same parameters."""
    cfg = dataclasses.replace(model.cfg, **changes)
    device = next(model.parameters()).device
    other = CMELT.build_model(cfg).to(device).train()
    # Of the base class: the host's own knows no assignment.
    torch.nn.Module.load_state_dict(other, model.state_dict(keep_vars=True), assign=True)
    return other


def compiled_twin(model: CMELT, backend: str) -> CMELT:
    """A twin with ``model.compile``; backend ``eager`` traces the model and generates no code, which takes minutes."""
    with patch.object(compiling, "BACKEND", backend):
        return twin(model, compile=True)


def synthetic_batch(model: CMELT, rows: int, length: int, device: str = "cpu", seed: int = 0) -> dict[str, Any]:
    """A training batch as the data set makes them: half of the texts swapped, a quarter of the words masked.

    Args:
        model: gives vocabulary and number of ECG tokens.
        rows: pairs.
        length: tokens of the longest text; the shortest has a third of them.
        device: where to.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    vocab_size = model.text_encoder.vocab_size
    tokens = vocab_size - 28 if vocab_size == PAPER_TEXT["vocab_size"] else vocab_size
    special = [0, 1, 2, *range(tokens - N_SENTINELS, vocab_size)]
    lengths = rng.integers(max(2, length // 3), length + 1, rows)
    lengths[0] = length
    padding = np.arange(length)[None, :] >= lengths[:, None]
    ids = rng.integers(3, tokens - N_SENTINELS, (rows, length))
    ids[np.arange(rows), lengths - 1] = 1
    ids[padding] = 0
    text = WordMasker(0.25, tokens - 1, vocab_size, special)(ids, padding, rng.random((3, rows, length)))
    lead_mask = rng.random((rows, 12)) < 0.5
    lead_mask[lead_mask.all(axis=1), 0] = False
    report = rng.integers(0, max(2, 4 * rows), rows)
    aligned = np.ones(rows, dtype=bool)
    aligned[rng.permutation(rows)[: rows // 2]] = False
    batch = {
        "id": torch.arange(rows),
        "net_input": {
            "ecg": torch.from_numpy(rng.standard_normal((rows, 12, 5000), dtype=np.float32)),
            "n_samples": None,
            "lead_mask": torch.from_numpy(lead_mask),
            "text": torch.from_numpy(text.ids),
            "text_padding_mask": torch.from_numpy(padding),
            "mlm_mask": torch.from_numpy(text.mask),
            "mem_noise": torch.from_numpy(rng.integers(0, 2**31, (rows, model.n_ecg_tokens))),
        },
        "ntokens": int((~padding).sum()),
        "mlm_target": torch.from_numpy(text.target),
        "aligned": torch.from_numpy(aligned),
        "report_id": torch.from_numpy(report),
        "text_report_id": torch.from_numpy(np.where(aligned, report, report + 1)),
    }
    return to_device(batch, device)


def to_device(batch: Any, device: str) -> Any:
    """All tensors of a nested batch on a device."""
    if torch.is_tensor(batch):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    return batch


def build_criterion() -> CompositeCriterion:
    """The composite criterion with its default settings, in training mode."""
    return CompositeCriterion(CMELTCriterionConfig(), SimpleNamespace(target_dictionary=None)).train()


def our_losses(model: Any, criterion: CompositeCriterion, sample: dict[str, Any]) -> dict[str, Tensor]:
    """``mlm, mem, etm, siglep, loss`` per row of the batch, as the criterion computes them."""
    total, rows, log = criterion(model, sample)
    parts = {name[len("loss_") :]: log[name] / rows for name in log if name.startswith("loss_")}
    return {**parts, "loss": total / rows}


def optimiser_settings(configuration: Any = CONFIGURATION) -> dict[str, Any]:
    """The ``optimizer`` section of a training configuration."""
    with open(configuration, encoding="utf-8") as handle:
        return dict(yaml.safe_load(handle)["optimizer"])


def build_optimiser(parameters: Sequence[Tensor], settings: dict[str, Any]) -> Any:
    """The host's optimiser by its registered name, learning rate 5e-5.

    Args:
        parameters: to optimise.
        settings: ``_name`` and fields of its configuration.
    """
    registry = host.host_module("optim")
    name = settings["_name"]
    config_class = registry.OPTIMIZER_DATACLASS_REGISTRY[name]
    known = {field.name for field in dataclasses.fields(config_class)}
    values = {key: value for key, value in settings.items() if key in known and key != "_name"}
    if "tpu" in known:
        values["tpu"] = False  # by default a reference into the whole configuration, which is not there
    return registry.OPTIMIZER_REGISTRY[name](config_class(**values, lr=[5e-5]), list(parameters))


def training_step(loss: Callable[[], Tensor], optimiser: Any, device: str, bf16: bool) -> Callable[[], None]:
    """Forward, backward and optimiser as one function."""

    def step() -> None:
        with part(FORWARD), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            value = loss()
        with part(BACKWARD):
            value.backward()
        with part(OPTIMISER):
            optimiser.step()
            optimiser.zero_grad()

    return step
