"""Labelled manifest directories of any label set, and a tiny checkpoint with its own tokenizer, for evaluation tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from report_texts import write_directory
from tiny import TINY_MODEL, write_manifest

from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.text.tokenizer import load_tokenizer, tokenizer_fingerprint
from preprocess import tokenizer as tokenizer_command

SUPER = ["NORM", "MI", "STTC", "CD", "HYP"]
CPSC = ["AFIB", "VPC", "NORM", "1AVB", "CRBBB", "STE", "PAC", "CLBBB", "STD"]
CSN = (
    "AQW UW SR WPW 2AVB AT VB ARS STTC SA STE VPB TWO STTU ALS APB 2AVB1 PRIE CCR CR AF AVB QTIE LBBB VEB SVT RBBB 1AVB "
    "STDD MI AFIB TWC PWC ERV RVH LVH ST JEB"
).split()
CLASSES = {"ptb-xl-super": SUPER, "cpsc2018": CPSC, "csn": CSN, "code": ["1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"]}


def write_tokenizer(folder: Path) -> Path:
    """A T5 tokenizer trained on 200 made-up reports, with an encoder of width 64 and random weights; its folder."""
    write_directory(folder / "texts", 200)
    tokenizer = folder / "tokenizer"
    options = ["--train-vocab", "200", "--encoder", "tiny", "--dest", str(tokenizer)]
    assert tokenizer_command.main(["--manifest", str(folder / "texts"), *options]) == 0
    return tokenizer


def write_checkpoint(path: Path, tokenizer: Path, seed: int = 0) -> Path:
    """A tiny C-MELT of random weights with that text encoder, as a host saves it."""
    from cmelt_plugin.models.cmelt.config import CMELTConfig
    from cmelt_plugin.models.cmelt.model import CMELT
    from cmelt_plugin.modules.text.text_encoder import describe_text_encoder

    described = describe_text_encoder(str(tokenizer))
    cfg = CMELTConfig(**{**TINY_MODEL, "text_encoder": str(tokenizer), "text_encoder_config": described})
    torch.manual_seed(seed)
    state = {
        "model": dict(CMELT.build_model(cfg).state_dict()),
        "cfg": {"model": {**dataclasses.asdict(cfg), "_name": "cmelt"}, "task": {"max_text_tokens": 64, "tokenizer": None}},
        "task_state": {"tokenizer_fingerprint": tokenizer_fingerprint(load_tokenizer(str(tokenizer)))},
    }
    torch.save(state, path)
    return path


def write_labelled(
    directory: Path,
    label_set: str,
    names: Sequence[str] | None = None,
    n_records: int = 12,
    seed: int = 0,
    splits: Sequence[str] = ("valid", "test"),
    data_set: str | None = None,
) -> Path:
    """Random records without reports and random labels, some unknown; every class has both kinds in every split."""
    names = list(CLASSES[label_set] if names is None else names)
    write_manifest(directory, n_records=n_records, splits=splits, seed=seed, short_row=1, reports=False)
    write_json(directory / "labels.json", {"label_set": label_set, "names": names})
    write_json(directory / "manifest.json", {"data_set": data_set or label_set, "notes": ["labels (made up)", "splits: two"]})
    rng = np.random.default_rng(seed)
    for split in splits:
        labels = rng.choice([0.0, 1.0, np.nan], size=(n_records, len(names)), p=[0.55, 0.35, 0.1]).astype(np.float32)
        labels[0], labels[1] = 0, 1
        np.save(directory / f"{split}.labels.npy", labels)
    return directory
