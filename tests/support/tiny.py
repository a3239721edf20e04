"""Small stand-ins that several tests share: a manifest with random records, a token table, a tiny model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.directory.split_meta import META_SCHEMA
from cmelt_plugin.data.files import fingerprint, write_json
from cmelt_plugin.data.store.record_store import shard_name
from cmelt_plugin.data.store.shard_writer import write_records
from cmelt_plugin.data.text.report_fingerprints import known_fingerprints
from cmelt_plugin.data.text.reports import REPORTS_FILE, write_reports
from cmelt_plugin.data.text.tokens import TokenTable

VOCAB = 60
PAD, EOS, MASK = 0, 1, 59
SPECIAL = (0, 1, 2, 58, 59)


def tiny_t5_config() -> str:
    """JSON of a T5 encoder of width 32."""
    sizes = {"vocab_size": VOCAB, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return json.dumps({"model_type": "t5", "feed_forward_proj": "gated-gelu", "dropout_rate": 0.1, **sizes})


def write_text_encoder(folder: Path) -> Path:
    """A folder with a T5 encoder of width 32, random weights."""
    from cmelt_plugin.huggingface import import_transformers

    transformers = import_transformers()
    values = json.loads(tiny_t5_config())
    values.pop("model_type")
    transformers.T5EncoderModel(transformers.T5Config(**values)).save_pretrained(folder)
    return folder


TINY_MODEL: dict[str, Any] = {
    "text_encoder_pretrained": False,
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


def tiny_model(**changes: Any) -> Any:
    """A C-MELT of about 100,000 parameters with random weights."""
    from cmelt_plugin.models.cmelt.config import CMELTConfig
    from cmelt_plugin.models.cmelt.model import CMELT

    return CMELT.build_model(CMELTConfig(**{**TINY_MODEL, "text_encoder_config": tiny_t5_config(), **changes}))


def hosted_tiny_model(**changes: Any) -> Any:
    """The same as the host trains it."""
    from cmelt_plugin import host, register

    register()
    model_class = host.model_class(SimpleNamespace(_name="cmelt"))
    values = {**TINY_MODEL, "text_encoder_config": tiny_t5_config(), **changes}
    return model_class.build_model(host.model_config_class(model_class)(**values))


def _fingerprint_of(source: Path) -> str:
    return known_fingerprints(source)[0] if source.name == REPORTS_FILE else fingerprint(source)


def token_table(texts: Sequence[Sequence[int]], source: Path | None = None, **extra: Any) -> TokenTable:
    """A token table over the tiny vocabulary; every text ends in EOS."""
    rows = [[*text, EOS] for text in texts]
    info = {
        "format": 1,
        "tokenizer": "tiny",
        "fingerprint": "sha256:tiny",
        "source_fingerprint": _fingerprint_of(source) if source else "",
        "vocab_size": VOCAB,
        "pad_id": PAD,
        "mask_id": MASK,
        "special_ids": list(SPECIAL),
        "max_tokens": 256,
    }
    offsets = np.cumsum([0, *map(len, rows)])
    return TokenTable(np.concatenate([np.asarray(row) for row in rows]), offsets, info, **extra)


def write_manifest(
    directory: Path,
    n_records: int = 24,
    n_reports: int = 6,
    splits: Sequence[str] = ("train", "valid"),
    seed: int = 0,
    short_row: int | None = None,
    labels: bool = False,
    reports: bool = True,
    k: int = 3,
) -> Path:
    """A manifest directory of random records with every sidecar.

    Report r reads as the tokens ``3 + r, 10 + r, …``, so that a test can tell from the ids which report it sees.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ecg = rng.normal(size=(n_records, 12, 5000)).astype(np.float32) * 0.3
    write_records(directory, ecg)
    report_ids = np.arange(n_records) % n_reports
    if reports:
        counts = np.bincount(report_ids, minlength=n_reports) * len(splits)
        write_reports(directory, [f"report number {r}" for r in range(n_reports)], counts)
        table = token_table([report_tokens(r) for r in range(n_reports)], directory / "reports.parquet")
        table.save(directory / "reports.tiny.npz")
    if labels:
        names = ["AFIB", "SR"]
        write_json(directory / "labels.json", {"label_set": "tiny", "names": names})
        write_json(directory / "prompts.json", {"AFIB": ["atrial fibrillation"], "SR": ["sinus rhythm", "normal"]})
        prompts = token_table([[5, 6], [7, 8], [9]], directory / "prompts.json", class_index=np.array([0, 1, 1]))
        prompts.save(directory / "prompts.tiny.npz")
    for split in splits:
        n_samples = np.full(n_records, 5000)
        if short_row is not None:
            n_samples[short_row] = 3500
        meta = pa.table(
            {
                "record_id": [f"{split}{i}" for i in range(n_records)],
                "subject_id": [f"{split}-subject{i // 2}" for i in range(n_records)],
                "report_id": report_ids if reports else np.full(n_records, -1),
                "sex": [""] * n_records,
                "age": np.full(n_records, np.nan),
                "source": ["tiny"] * n_records,
                "time": [""] * n_records,
                "source_rate": np.full(n_records, 500.0),
            },
            schema=META_SCHEMA,
        )
        rows = np.arange(n_records)
        write_split(directory, split, [shard_name(0)], np.zeros(n_records, dtype=int), rows, n_samples, meta)
        if labels:
            values = np.stack([rows % 2, (rows + 1) % 2], axis=1).astype(np.uint8)
            np.save(directory / f"{split}.labels.npy", values)
        if reports:
            neighbours = (np.arange(n_reports)[:, None] + 1 + np.arange(k)[None, :]) % n_reports
            NegativeTable(neighbours.astype(np.int32), {}).save(directory, split)
    return directory


def report_tokens(report: int) -> Sequence[int]:
    """The ordinary tokens of a report of :func:`write_manifest`; no two reports share one."""
    return [3 + report, 13 + report, 23 + report, 33 + report, 43 + report][: 3 + report % 3]
