"""What a user of trained models has on disk: a tokenizer, a checkpoint of a tiny model, a WFDB record."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny import TINY_MODEL, tiny_t5_config

from cmelt_plugin.data.leads import LEADS

TEXTS = [
    "sinus rhythm normal ecg",
    "atrial fibrillation with rapid ventricular response",
    "left bundle branch block",
    "sinus bradycardia otherwise normal ecg",
    "inferior infarct age undetermined",
]


def write_tokenizer_folder(folder: Path, texts: list[str] = TEXTS) -> int:
    """A T5 tokenizer trained on a few reports; returns how many ids it has."""
    from preprocess.text.t5_folder import train_sentencepiece, write_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    return write_tokenizer(folder, train_sentencepiece(texts * 20, 40))


def write_checkpoint(path: Path, tokenizer: Path, extra: dict[str, Any] | None = None, seed: int = 0, **changes: Any) -> Any:
    """A checkpoint as a host writes it, of a tiny C-MELT with random weights, which is returned in eval mode."""
    from cmelt_plugin.data.text.tokenizer import load_tokenizer, tokenizer_fingerprint
    from cmelt_plugin.models.cmelt.config import CMELTConfig
    from cmelt_plugin.models.cmelt.model import CMELT

    loaded = load_tokenizer(str(tokenizer))
    text = {**json.loads(tiny_t5_config()), "vocab_size": len(loaded)}
    values = {**TINY_MODEL, "text_encoder": str(tokenizer), "text_encoder_config": json.dumps(text, sort_keys=True), **changes}
    torch.manual_seed(seed)
    cfg = CMELTConfig(**values)
    model = CMELT.build_model(cfg)
    for name, parameter in model.named_parameters():
        # Small weights would make all embeddings alike.
        if name.endswith("projection.dense.weight") or (name.startswith("ecg_encoder.") and parameter.dim() == 2):
            torch.nn.init.normal_(parameter, std=0.3)
    state = {
        "model": dict(model.state_dict()),
        "cfg": {
            "model": {**dataclasses.asdict(cfg), "_name": "cmelt"},
            "task": {"_name": "cmelt_pretraining", "data": "/home/someone/manifests/x", "max_text_tokens": 16},
        },
        "task_state": {"tokenizer_fingerprint": tokenizer_fingerprint(loaded)},
        **(extra or {}),
    }
    torch.save(state, path)
    return model.eval()


def write_classifier(
    path: Path,
    names: list[str],
    task: dict[str, Any] | None = None,
    thresholds: list[float] | None = None,
    pretrained: str = "",
) -> Any:
    """A checkpoint of a tiny classifier with random weights, which is returned in eval mode."""
    from cmelt_plugin.models.classifier.config import ClassifierConfig
    from cmelt_plugin.models.classifier.model import Classifier

    sizes = {name: value for name, value in TINY_MODEL.items() if name.startswith(("conv_", "encoder_"))}
    torch.manual_seed(1)
    cfg = ClassifierConfig(num_classes=len(names), class_names=list(names), dropout=0.1, attention_dropout=0.1, **sizes)
    model = Classifier.build_model(cfg)
    torch.nn.init.normal_(model.head.weight, std=0.5)
    state = {
        "model": dict(model.state_dict()),
        "cfg": {
            "model": {**dataclasses.asdict(cfg), "_name": "cmelt_classifier", "pretrained": pretrained or None},
            "task": {"_name": "cmelt_classification", "problem": "multi_label", "leads": list(LEADS), **(task or {})},
        },
        "task_state": {} if thresholds is None else {"thresholds": thresholds},
    }
    torch.save(state, path)
    return model.eval()


def random_ecg(seconds: float = 10.0, rate: float = 500.0, seed: int = 0, leads: int = 12) -> np.ndarray:
    """Smooth random signals ``[leads, samples]`` in mV, so that other rates hold the same signal; 12 leads are plausible."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    phases, rates = rng.uniform(0, 6, (leads, 5)), rng.uniform(0.5, 8, (leads, 5))
    ecg = 0.3 * np.sin(2 * np.pi * rates[..., None] * time + phases[..., None]).sum(axis=1)
    if leads == len(LEADS):
        ecg[2:6] = [ecg[1] - ecg[0], -(ecg[0] + ecg[1]) / 2, ecg[0] - ecg[1] / 2, ecg[1] - ecg[0] / 2]
    return ecg


def write_record(folder: Path, name: str, signal: np.ndarray, rate: float = 500, leads=LEADS, unit: str = "mV") -> Path:
    """A WFDB record of ``signal [leads, samples]`` in ``unit``; returns its path without suffix."""
    import wfdb

    folder.mkdir(parents=True, exist_ok=True)
    n = len(leads)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=[unit] * n,
        sig_name=list(leads),
        p_signal=np.asarray(signal, dtype=np.float64).T,
        fmt=["16"] * n,
        write_dir=str(folder),
    )
    return folder / name
