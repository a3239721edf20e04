"""A tiny BERT, a corpus folder with its token ids, and a checkpoint of a language model, for tests of the language stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from report_texts import make_reports

from cmelt_plugin.data.corpus.documents import CORPUS_FILE, FORMAT, SCHEMA, documents_path
from cmelt_plugin.data.files import fingerprint, write_json
from preprocess.corpus.token_ids import tokenise_corpus
from preprocess.text import bert_folder
from preprocess.text.hf_tokenizer import load_tokenizer, tokenizer_fingerprint
from preprocess.tokenizer import describe

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def write_bert(folder: Path, texts: Sequence[str] | None = None, masked: bool = False, vocab_size: int = 120) -> Path:
    """A folder with a BERT of width 32, random weights, and its tokenizer; ``masked``: with the head for masked words."""
    from cmelt_plugin.huggingface import import_transformers

    folder.mkdir(parents=True, exist_ok=True)
    size = bert_folder.write_tokenizer(folder, bert_folder.train_wordpiece(texts or make_reports(60), vocab_size))
    transformers = import_transformers()
    config = transformers.BertConfig(vocab_size=size, max_position_embeddings=64, initializer_range=0.2, **SIZES)
    torch.manual_seed(0)
    kind = transformers.BertForMaskedLM if masked else transformers.BertModel
    kind(config).save_pretrained(folder, safe_serialization=True)
    return folder


def write_documents(folder: Path, splits: Mapping[str, Sequence[tuple[str, Sequence[str]]]]) -> Path:
    """A corpus folder of reports as their statements: split → (name, statements)."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, documents in splits.items():
        names, statements = zip(*documents)
        columns = [list(names), ["report"] * len(names), [list(one) for one in statements]]
        pq.write_table(pa.table(columns, schema=SCHEMA), documents_path(folder, split))
    counts = {split: {"documents": len(documents)} for split, documents in splits.items()}
    files = [documents_path(folder, split) for split in splits]
    prints = {path.name: fingerprint(path) for path in files}
    write_json(folder / CORPUS_FILE, {"format": FORMAT, "counts": {}, "splits": counts, "fingerprints": prints})
    return folder


def write_corpus(folder: Path, bert: Path, n: int = 60, n_valid: int = 8) -> Path:
    """A corpus of made-up reports with the token ids of ``bert``."""
    documents = [(f"r{number}", text.split(" ", 2)) for number, text in enumerate(make_reports(n))]
    write_documents(folder, {"train": documents[n_valid:], "valid": documents[:n_valid]})
    tokenizer = load_tokenizer(str(bert))
    tokenise_corpus(folder, "bert", tokenizer, describe(tokenizer, str(bert)), overwrite=False)
    return folder


def write_language_checkpoint(path: Path, bert: Path, data: Path | None = None, **state: Any) -> Any:
    """A checkpoint as a host writes it, of a language model with the weights of ``bert``; the model is returned."""
    from cmelt_plugin.models.language.config import LanguageConfig
    from cmelt_plugin.models.language.model import LanguageModel

    cfg = LanguageConfig(text_encoder=str(bert))
    LanguageModel.prepare_config(cfg)
    torch.manual_seed(0)
    model = LanguageModel.build_model(cfg)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # also biases, which begin as zeros
    task = {"_name": "cmelt_text_mlm", "data": str(data), "max_text_tokens": 32, "mlm_probability": 0.15}
    torch.save(
        {
            "model": dict(model.state_dict()),
            "cfg": {
                "model": {**dataclasses.asdict(cfg), "_name": "cmelt_text_mlm"},
                "task": task,
                "checkpoint": {"best_checkpoint_metric": "loss"},
            },
            "task_state": {"tokenizer_fingerprint": tokenizer_fingerprint(load_tokenizer(str(bert)))},
            **state,
        },
        path,
    )
    return model.eval()
