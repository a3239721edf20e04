"""What the tests of every system need of each: a model of a few thousand weights, batches for it, its criterion, a checkpoint.

A new system gets its :class:`Case` here, and with it all of ``test_every_system.py``.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tiny import TINY_MODEL, tiny_t5_config
from torch import Tensor, nn

from cmelt_plugin import host, register, registry
from cmelt_plugin.criterions.classification import ClassificationCriterion, ClassificationCriterionConfig
from cmelt_plugin.data.batches.pretraining import PretrainingDataset, PretrainingOptions
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable


@dataclasses.dataclass(frozen=True)
class Case:
    """A small configuration of a system, without dropout, so that training mode is deterministic.

    Attributes:
        system: registered name.
        model: settings of the model.
        criterion: ``module:class`` of the criterion's configuration.
        losses: terms of the loss, as logged.
        idle: parameters that train and get no gradient from the criterion.
        text_encoder: setting that holds the text encoder's description; None: it reads no texts.
        inputs: options of the system's inputs.
        variants: changes of the model's settings whose layers are other code.
        compiled: graphs at least that ``model.compile`` makes of its layers.
        draws: whether anything in a batch is drawn anew every epoch.
        configuration: name of its tiny one in ``examples/pretrain``; None: that of the system.
        gradient_atol: how far gradients of several ranks may be from those of one process, as a share of the largest.
        with_echo: whether the hosts' commands train it on records of which some have echocardiograms.
    """

    system: str
    model: dict[str, Any]
    criterion: str
    losses: tuple[str, ...]
    idle: frozenset[str] = frozenset()
    text_encoder: str | None = "text_encoder_config"
    inputs: dict[str, Any] = dataclasses.field(default_factory=dict)
    variants: tuple[dict[str, Any], ...] = ({},)
    compiled: int = 2
    draws: bool = True
    configuration: str | None = None
    gradient_atol: float = 3e-5
    with_echo: bool = False


_MERL: dict[str, Any] = {
    "system": "merl",
    "criterion": "cmelt_plugin.models.merl.criterion:MERLCriterionConfig",
    "losses": ("cma", "uma"),
    "inputs": {"lead_mask_probability": 0.25},
}
_MERL_MODEL = {
    "text_encoder_pretrained": False,
    "text_pool": "mean",
    "text_free_layers": -1,
    "embed_dim": 16,
    "projection_dim": 24,
    "view_dropout": 0.0,
}
_MELP: dict[str, Any] = {
    "system": "melp",
    "criterion": "cmelt_plugin.models.melp.criterion:MELPCriterionConfig",
    "losses": ("clip", "caption", "local"),
    "inputs": {"lead_mask_probability": 0.25},
}
_ENCODER = {name: value for name, value in TINY_MODEL.items() if name.startswith(("conv_", "encoder_"))}
_MELP_MODEL = {
    **_ENCODER,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "text_encoder_pretrained": False,
    "text_free_layers": -1,
    "embed_dim": 16,
    "projection_dim": 24,
    "n_queries": 5,
    "n_caption_queries": 7,
    "pool_heads": 4,
    "decoder_layers": 2,
    "decoder_heads": 4,
}
_ECHOING: dict[str, Any] = {
    "system": "echoing_ecg",
    "criterion": "cmelt_plugin.models.echoing.criterion:PCMEPPCriterionConfig",
    "losses": ("ecg_text", "ecg_echo"),
    # Batches of records with reports say nothing of the other pair of modalities.
    "idle": frozenset({"scale.ecg_echo", "shift.ecg_echo"}),
    "draws": False,
    # Pooling sorts tokens: by rounding two of them may change places.
    "gradient_atol": 3e-4,
    "configuration": "echoing_tiny",
    "with_echo": True,
}
_ECHOING_MODEL = {"text_encoder_pretrained": False, "embed_dim": 16}
CASES = {
    "cmelt": Case(
        system="cmelt",
        model={**TINY_MODEL, "dropout": 0.0, "attention_dropout": 0.0},
        criterion="cmelt_plugin.models.cmelt.criterion:CMELTCriterionConfig",
        losses=("mlm", "mem", "etm", "siglep"),
        inputs={"negatives": "n3s", "mlm_probability": 0.4},
        variants=(
            {},
            {"mem_decoder_conv_pos": 3, "masked_tokens_in_positions": False},
            {"extractor_mode": "layer_norm", "amplitude_embedding": True},
        ),
        compiled=5,  # convolutions, layers of two encoders, of the fusion module and of the MEM decoder
    ),
    "echoing": Case(model={**_ECHOING_MODEL, "ecg_width": 4, "ecg_blocks": "1, 2, 1, 1"}, **_ECHOING),
    "echoing-resnet18": Case(
        model={**_ECHOING_MODEL, "ecg_encoder": "resnet18", "ecg_width": 4, "normalisation": "none"}, **_ECHOING
    ),
    "echoing-wav2vec": Case(
        model={**_ECHOING_MODEL, **_ENCODER, "ecg_encoder": "wav2vec", "normalisation": "none"}, **_ECHOING
    ),
    "melp": Case(model={**_MELP_MODEL, "text_free_layers": 1}, **_MELP),
    "melp-resnet18": Case(model={**_MELP_MODEL, "ecg_tower": "resnet18", "resnet_width": 4}, **_MELP),
    "merl-resnet18": Case(model={**_MERL_MODEL, "ecg_encoder": "resnet18", "ecg_width": 4}, **_MERL),
    "merl-vit": Case(
        model={**_MERL_MODEL, "ecg_encoder": "vit_tiny", "ecg_width": 16, "ecg_layers": 2, "ecg_heads": 2}, **_MERL
    ),
}


def values_of(case: Case, vocab_size: int | None = None, **changes: Any) -> dict[str, Any]:
    """Settings of the case's model, with a T5 of width 32 where it reads texts."""
    values = dict(case.model)
    if case.text_encoder is not None:
        text = {**json.loads(tiny_t5_config()), "dropout_rate": 0.0}
        values[case.text_encoder] = json.dumps(text if vocab_size is None else {**text, "vocab_size": vocab_size})
    return {**values, **changes}


def plain_model(case: Case, seed: int = 0, **changes: Any) -> Any:
    """The model without a host."""
    system = registry.systems()[case.system]
    torch.manual_seed(seed)
    return _filled(system.model_class().build_model(system.config_class()(**values_of(case, **changes))))


def hosted_model(case: Case, seed: int = 0, **changes: Any) -> Any:
    """The model as the host trains it."""
    register()
    model_class = host.model_class(SimpleNamespace(_name=case.system))
    torch.manual_seed(seed)
    return _filled(model_class.build_model(host.model_config_class(model_class)(**values_of(case, **changes))))


def _filled(model: nn.Module) -> nn.Module:
    """Weights with which every output depends visibly on every input."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.15)
    return model


def split_of(case: Case, directory: Path, model: Any, split: str = "train") -> PretrainingDataset:
    """A split of :func:`tiny.write_manifest` as the task opens it for the system."""
    inputs_class = registry.systems()[case.system].inputs_class()
    inputs = inputs_class(inputs_class.Options(**case.inputs), model)
    tokens = None
    if case.text_encoder is not None:
        tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")
    return PretrainingDataset(
        Manifest.open(directory, split), inputs, tokens, PretrainingOptions(seed=3, train=split == "train")
    )


def criterion_of(case: Case, batch_size: int | None = None) -> Any:
    """The system's criterion with its defaults; ``batch_size``: the largest of all ranks, as tasks know it."""
    register()
    task = SimpleNamespace(target_dictionary=None, training_batch_size=batch_size)
    system = registry.systems()[case.system]
    return registry.imported(system.criterions[system.usual_criterion])(registry.imported(case.criterion)(), task)


def train_step(name: str, sample: dict[str, Any], batch_size: int | None = None, **changes: Any) -> dict[str, Any]:
    """One step in training mode, here or in one of two processes: loss, rows, log, gradients and buffers afterwards.

    The gradient of a repeated batch is thrown away, as the hosts do.
    """
    case = CASES[name]
    return measured_step(hosted_model(case, **changes), criterion_of(case, batch_size), sample)


def classification_step(name: str, sample: dict[str, Any]) -> dict[str, Any]:
    """:func:`train_step` of a classifier on the case's ECG encoder, as the host trains it: two classes by the record's number.

    Args:
        name: of the case.
        sample: a batch for pre-training.
    """
    register()
    case = CASES[name]
    config = registry.systems()[case.system].config_class()
    known = {key: value for key, value in case.model.items() if key in config.encoder_sizes}
    model_class = host.model_class(SimpleNamespace(_name="cmelt_classifier"))
    config_class = host.model_config_class(model_class)
    torch.manual_seed(0)
    model = model_class.build_model(
        config_class(encoder=case.system, dropout=0.0, attention_dropout=0.0, num_classes=2, class_names=["a", "b"], **known)
    )
    labels = torch.stack([sample["id"] % 2, (sample["id"] + 1) % 3 % 2], dim=1).float()
    ecg, n_samples = (sample["net_input"][key] for key in ("ecg", "n_samples"))
    n_samples = torch.full_like(sample["id"], ecg.shape[-1]) if n_samples is None else n_samples
    task = SimpleNamespace(target_dictionary=None, multi_class=False)
    criterion = ClassificationCriterion(ClassificationCriterionConfig(), task)
    # In float64: where a ReLU is within rounding of its kink, gradients of float32 may lie on either side.
    inputs = {"ecg": ecg.double(), "n_samples": n_samples}
    return measured_step(_filled(model).double(), criterion, {**sample, "net_input": inputs, "labels": labels})


def measured_step(model: Any, criterion: Any, sample: dict[str, Any]) -> dict[str, Any]:
    model.train()
    loss, rows, log = criterion.train()(model, sample)
    counts = 0.0 if sample.get("ignore_grad") else 1.0
    (loss * counts).backward()
    return {
        "loss": loss.detach() * counts,
        "sample_size": rows * counts,
        "log": log,
        "gradients": {name: parameter.grad for name, parameter in model.named_parameters()},
        "buffers": {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()},
    }


def write_checkpoint(path: Path, case: Case, tokenizer: Path, seed: int = 0, **changes: Any) -> Any:
    """A checkpoint as a host writes it, of a model with random weights and changed settings, which is returned in eval mode."""
    from cmelt_plugin.data.text.tokenizer import load_tokenizer, tokenizer_fingerprint

    loaded = load_tokenizer(str(tokenizer))
    system = registry.systems()[case.system]
    cfg = system.config_class()(**values_of(case, len(loaded), text_encoder=str(tokenizer), **changes))
    torch.manual_seed(seed)
    model = _filled(system.model_class().build_model(cfg))
    state: dict[str, Tensor] = dict(model.state_dict())
    torch.save(
        {
            "model": state,
            "cfg": {
                "model": {**dataclasses.asdict(cfg), "_name": case.system},
                "task": {"_name": "cmelt_pretraining", "max_text_tokens": 16},
            },
            "task_state": {"tokenizer_fingerprint": tokenizer_fingerprint(loaded)},
        },
        path,
    )
    return model.eval()
