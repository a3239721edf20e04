"""A language model as a folder of Hugging Face's: weights, tokenizer and a card; what ``model.text_encoder=`` takes."""

from __future__ import annotations

import json
import math
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmelt_plugin.data.corpus.documents import CORPUS_FILE, read_description
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.text.tokenizer import load_tokenizer
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.checkpoint import LoadedModel, load_model
from cmelt_plugin.models.files.run_facts import run_facts
from cmelt_plugin.models.files.tokenizer_folder import copy_tokenizer
from cmelt_plugin.models.inference.text_side import check_tokenizer
from cmelt_plugin.serialization.checkpoint_files import load_checkpoint
from cmelt_plugin.version import __version__

LANGUAGE_FILE = "language_model.json"
"""What the folder says of its training; also the mark by which it is known as one that may be replaced."""


def export(checkpoint: Path, dest: Path, tokenizer: str | None, name: str | None, licence: str, overwrite: bool) -> Path:
    """Write the folder of a checkpoint's language model, whole or not at all.

    Args:
        checkpoint: of the task ``cmelt_text_mlm``.
        dest: where to.
        tokenizer: folder or name, where it is not that of ``model.text_encoder``.
        name: title of the card; None: the folder's name.
        licence: of the weights, for the card.
        overwrite: replace a folder that was exported before.

    Raises:
        DataError: ``dest`` holds something, or the checkpoint or its tokenizer cannot be opened or do not belong together.
    """
    if dest.exists() and not dest.is_dir():
        raise DataError(f"{dest}: is a file; --dest names a folder")
    if dest.is_dir() and any(dest.iterdir()):
        if not (dest / LANGUAGE_FILE).is_file():
            raise DataError(f"{dest}: holds something that is not an exported language model; choose another --dest")
        if not overwrite:
            raise DataError(f"{dest}: holds an exported language model; --overwrite replaces it")
    loaded = load_model(checkpoint)
    encoder = loaded.model.text_encoder
    source = str(tokenizer or loaded.cfg["model"]["text_encoder"])
    opened = load_tokenizer(source)
    check_tokenizer(opened, source, loaded.task_state.get("tokenizer_fingerprint"), encoder.vocab_size)
    about = _facts(loaded, load_checkpoint(checkpoint, ("cfg", "extra_state", "optimizer_history")))
    dest.parent.mkdir(parents=True, exist_ok=True)
    temporary = dest.with_name(f".{dest.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        copy_tokenizer(opened, Path(source), temporary)
        encoder.model.config._name_or_path = ""  # a path of the machine it was trained on, in older transformers
        encoder.model.save_pretrained(temporary, safe_serialization=True)
        (temporary / "README.md").write_text(_card(name or dest.resolve().name, licence, about), encoding="utf-8")
        write_json(temporary / LANGUAGE_FILE, about)
        for file in temporary.iterdir():
            file.chmod((temporary / LANGUAGE_FILE).stat().st_mode)  # safetensors lets nobody but the owner read its files
        if dest.is_dir():
            shutil.rmtree(dest)
        temporary.replace(dest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    parameters = sum(parameter.numel() for parameter in encoder.model.parameters())
    size = sum(file.stat().st_size for file in dest.rglob("*") if file.is_file())
    print(f"{dest}: {parameters:,} parameters, {size / 1e6:,.1f} MB; read by model.text_encoder={dest}")
    return dest


def _facts(loaded: LoadedModel, state: Mapping[str, Any]) -> dict[str, Any]:
    model, task = loaded.cfg["model"], loaded.cfg.get("task") or {}
    begun = Path(str(model["text_encoder"]))
    training = run_facts(state)
    training["sequences per process and step"] = training.pop("records per process and step", None)
    facts: dict[str, Any] = {
        "plugin_version": __version__,
        "began_as": begun.name if begun.is_absolute() or begun.is_dir() else str(begun),
        "tokenizer_fingerprint": loaded.task_state.get("tokenizer_fingerprint"),
        "training": training,
        "masking": {key: task[key] for key in ("mlm_probability", "whole_words", "max_text_tokens") if key in task},
    }
    loss = facts["training"].get("best validation loss")
    if loss is not None:
        facts["validation_perplexity"] = float(f"{math.exp(min(loss, 50.0)):.5g}")
    folder = Path(str(task.get("data") or ""))
    if (folder / CORPUS_FILE).is_file():
        corpus = read_description(folder)
        facts["corpus"] = {"documents": corpus["counts"], "splits": corpus["splits"]}
    return facts


def _card(name: str, licence: str, about: Mapping[str, Any]) -> str:
    front = {"library_name": "transformers", "license": licence, "pipeline_tag": "fill-mask", "tags": ["ecg", "cardiology"]}
    lines = [f"{key}: {json.dumps(value)}" for key, value in front.items()]
    facts = {**about["training"], **about["masking"]}
    if "validation_perplexity" in about:
        facts["validation perplexity (masked words of held-out texts)"] = about["validation_perplexity"]
    for split, counts in about.get("corpus", {}).get("splits", {}).items():
        facts[f"texts, {split}"] = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
    return f"""---
{chr(10).join(lines)}
---

# {name}

{about["began_as"]}, whose training went on with masked words of cardiology texts (cmelt-plugin {about["plugin_version"]},
task cmelt_text_mlm). It reads text both ways; it has seen no ECG.

    model.text_encoder={name}    # pre-training of any system of cmelt-plugin
    transformers.AutoModel.from_pretrained("{name}")

Not a medical device. It continues phrases as its texts did, and was not tested for anything but that.

| training | |
|---|---|
{rows}
"""
