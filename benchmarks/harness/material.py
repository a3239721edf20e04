"""What the benchmarks work on, made for the purpose: signals, reports, token ids, stores and manifests.

Contents matter only where they change the time taken: signals are smooth with noise, reports are joined from statements as
an electrocardiograph prints them, and large stores repeat a few recordings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.split_files import write_split
from cmelt_plugin.data.directory.split_meta import META_SCHEMA
from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.data.store.record_store import ROW_SHAPE, RecordStore
from cmelt_plugin.data.store.shard_writer import write_records
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.huggingface import import_transformers

DISTINCT = 256
"""Different recordings in a store; further rows repeat them."""
TAG = "bench"

_RHYTHMS = (
    *("sinus rhythm", "sinus bradycardia", "sinus tachycardia", "atrial fibrillation", "atrial flutter with 2:1 block"),
    *("ectopic atrial rhythm", "ventricular paced rhythm", "sinus rhythm with pacs", "sinus rhythm with pvcs"),
)
_FINDINGS = (
    *("left axis deviation", "right axis deviation", "left bundle branch block", "right bundle branch block"),
    *("left anterior fascicular block", "first degree a v block", "prolonged qt interval", "low qrs voltages in limb leads"),
    *("possible left atrial abnormality", "left ventricular hypertrophy with repolarization abnormality"),
    *("inferior infarct age undetermined", "anteroseptal infarct old", "lateral t wave changes may be due to ischemia"),
    *("nonspecific t wave abnormalities", "poor r wave progression probable normal variant", "early repolarization"),
    *("inferior st elevation repolarization variant", "rsr in v1 probable normal variant", "borderline short pr interval"),
)
_VERDICTS = ("normal ecg", "abnormal ecg", "borderline ecg", "summary abnormal ecg")


def signals(n: int, seed: int = 0) -> np.ndarray:
    """``n`` recordings, float32 ``[n, 12, 5000]`` mV: two sines of their own frequencies per lead, and noise.

    The limb leads obey Einthoven's and Goldberger's relations, as those of real recordings do.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(ROW_SHAPE[1], dtype=np.float32) / 500
    ecg = rng.standard_normal((n, *ROW_SHAPE), dtype=np.float32) * np.float32(0.02)
    for record in ecg:
        frequency, phase = rng.uniform(1, 25, (2, ROW_SHAPE[0], 1)), rng.uniform(0, 6.28, (2, ROW_SHAPE[0], 1))
        record += (0.5 * np.sin(6.28 * frequency[0] * time + phase[0])).astype(np.float32)
        record += (0.2 * np.sin(6.28 * frequency[1] * time + phase[1])).astype(np.float32)
    one, two = ecg[:, 0].copy(), ecg[:, 1].copy()
    ecg[:, 2:6] = np.stack([two - one, -(one + two) / 2, one - two / 2, two - one / 2], axis=1)
    return ecg


def report_texts(n: int, seed: int = 0) -> list[str]:
    """``n`` different normalised reports of a rhythm, up to three findings and a verdict: 12 words on average."""
    rng = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < n:
        findings = rng.choice(len(_FINDINGS), rng.integers(0, 4), replace=False)
        parts = [_RHYTHMS[rng.integers(len(_RHYTHMS))], *(_FINDINGS[i] for i in findings), _VERDICTS[rng.integers(4)]]
        texts[" ".join(parts)] = None
    return list(texts)


def unit_vectors(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Stand-ins for report embeddings, float32 ``[n, dim]``, unit norm, in 200 loose clusters with a common direction."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((200, dim), dtype=np.float32) + rng.standard_normal((1, dim), dtype=np.float32)
    vectors = rng.standard_normal((n, dim), dtype=np.float32) * np.float32(0.5)
    vectors += centres[rng.integers(0, 200, n)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


class TextFolder(NamedTuple):
    """A tokenizer and, where asked for, a text encoder with random weights, as ``from_pretrained`` reads them."""

    folder: Path
    vocab_size: int


def make_tokenizer(folder: Path, texts: list[str], encoder: str | None = None, vocab_size: int | None = None) -> TextFolder:
    """Train a small T5 tokenizer on ``texts``.

    Args:
        folder: where to; made.
        texts: reports.
        encoder: size of a text encoder to write beside it (``tiny``, ``small``, ``base``), or None.
        vocab_size: rows of the encoder's embedding; None: as many as the tokenizer has.
    """
    from preprocess.text.t5_folder import train_sentencepiece, write_encoder, write_tokenizer

    import_transformers().utils.logging.disable_progress_bar()
    folder.mkdir(parents=True)
    size = write_tokenizer(folder, train_sentencepiece(texts, 400))
    if encoder is not None:
        write_encoder(folder, encoder, vocab_size or size, seed=0)
    return TextFolder(folder, size)


def tokenise(folder: Path, texts: list[str], source: Path | None = None) -> TokenTable:
    """Token ids of ``texts`` as preprocess/tokenizer.py makes them."""
    from cmelt_plugin.data.text.tokenizer import encode
    from preprocess.text.hf_tokenizer import load_tokenizer, mask_id, special_ids, tokenizer_fingerprint

    tokenizer = load_tokenizer(str(folder))
    rows, _ = encode(tokenizer, texts, 256)
    info = {
        "format": 1,
        "tokenizer": TAG,
        "fingerprint": tokenizer_fingerprint(tokenizer),
        "source_fingerprint": fingerprint(source) if source else "",
        "vocab_size": len(tokenizer),
        "pad_id": tokenizer.pad_token_id,
        "mask_id": mask_id(tokenizer),
        "special_ids": special_ids(tokenizer),
        "max_tokens": 256,
    }
    offsets = np.cumsum([0, *map(len, rows)])
    return TokenTable(np.concatenate([np.asarray(row) for row in rows]), offsets, info)


def random_tokens(
    lengths: np.ndarray,
    vocab_size: int,
    rng: np.random.Generator,
    source: Path | None = None,
    class_index: np.ndarray | None = None,
) -> TokenTable:
    """Texts of random tokens, the last 100 of the vocabulary left out.

    Args:
        lengths: tokens of each, int ``[n]``.
        vocab_size: of the encoder that is to read them.
        rng: of the tokens.
        source: the file whose texts they stand for.
        class_index: class of each text, int ``[n]``; None: they are reports.
    """
    ids = rng.integers(3, vocab_size - 100, lengths.sum(), dtype=np.int32)
    info = {"format": 1, "tokenizer": TAG, "fingerprint": "", "source_fingerprint": fingerprint(source) if source else ""}
    info.update(vocab_size=vocab_size, pad_id=0, mask_id=vocab_size - 1, special_ids=[0, 1, 2], max_tokens=256)
    return TokenTable(ids, np.concatenate([[0], np.cumsum(lengths)]), info, class_index)


def repeat_tokens(tokens: TokenTable, n: int) -> TokenTable:
    """The texts of a table again and again until there are ``n``."""
    order = np.arange(n) % len(tokens)
    offsets = np.concatenate([[0], np.cumsum(tokens.lengths()[order])])
    return TokenTable(np.tile(tokens.ids, -(-n // len(tokens)))[: offsets[-1]], offsets, tokens.info)


def write_store(
    folder: Path, n_records: int, rows_per_shard: int = 4096, stored: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A store with :data:`DISTINCT` different recordings at most.

    Args:
        folder: where to.
        n_records: records wanted.
        rows_per_shard: of the store.
        stored: rows that are written at most, where several records may lie in the same row; None: a row for each.

    Returns:
        shard and row of each record, int32 ``[n_records]``.
    """
    n_rows = min(n_records, stored or n_records)
    distinct = signals(min(n_rows, DISTINCT))
    order = np.arange(n_rows) % len(distinct)

    class Repeated:
        """What :func:`write_records` needs of an array, without holding it."""

        def __len__(self) -> int:
            return n_rows

        def __getitem__(self, part: slice) -> Any:
            return (distinct[i] for i in order[part])

    shard, row = write_records(folder, Repeated(), rows_per_shard)  # type: ignore[arg-type]
    record = np.arange(n_records) % n_rows
    return shard[record], row[record]


def meta_table(record_id: Any, report_id: np.ndarray, subject_id: Any) -> pa.Table:
    """``SPLIT.meta.parquet`` of records about which nothing else is known."""
    n = len(report_id)
    empty = pa.array([""], pa.string()).take(pa.array(np.zeros(n, dtype=np.int32)))
    unknown = np.full(n, np.nan, dtype=np.float32)
    rate = np.full(n, 500, dtype=np.float32)
    columns = [record_id, subject_id, report_id.astype(np.int32), empty, unknown, empty, empty, rate]
    return pa.table(columns, schema=META_SCHEMA)


def write_manifest(
    folder: Path,
    n_records: int,
    n_reports: int,
    splits: tuple[str, ...] = ("train",),
    k: int = 64,
    encoder: str | None = "tiny",
    vocab_size: int | None = None,
    stored: int | None = None,
    seed: int = 0,
) -> TextFolder:
    """A manifest directory with everything training needs; every split lists the same records.

    Negatives are random reports: finding them is not what is measured on such a directory. ``stored`` as in
    :func:`write_store`, ``encoder`` and ``vocab_size`` as in :func:`make_tokenizer`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shard, row = write_store(folder, n_records, stored=stored)
    files = RecordStore(folder).files
    texts = report_texts(n_reports, seed)
    rng = np.random.default_rng(seed)
    report_id = rng.permutation(np.arange(n_records) % n_reports)
    write_reports(folder, texts, np.bincount(report_id, minlength=n_reports) * len(splits))
    tokenizer = make_tokenizer(folder / "tokenizer", texts, encoder, vocab_size)
    tokenise(tokenizer.folder, texts, folder / "reports.parquet").save(folder / f"reports.{TAG}.npz")
    ids = pa.array(np.arange(n_records)).cast(pa.string())
    meta = meta_table(ids, report_id, ids)
    step = rng.integers(1, n_reports, (n_reports, min(k, n_reports - 1)))
    neighbours = ((np.arange(n_reports)[:, None] + step) % n_reports).astype(np.int32)
    for split in splits:
        write_split(folder, split, files, shard, row, np.full(n_records, ROW_SHAPE[1]), meta)
        NegativeTable(neighbours, {}).save(folder, split)
    return tokenizer
