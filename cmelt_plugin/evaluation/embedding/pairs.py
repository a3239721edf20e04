"""ECG–report pairs of a split: which record has which report, and the reports as embeddings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.own_files import REPORTS_FILE
from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.data.text.token_files import find_token_file
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.cache import EmbeddingCache
from cmelt_plugin.evaluation.embedding.records import columns_of, embedding_of
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained
from cmelt_plugin.models.inference.scoring import other_score


class PairedSplit(NamedTuple):
    """The N records of a split that have a report.

    Attributes:
        rows: int64 ``[N]``, their rows of the manifest.
        report: int64 ``[N]``, each record's row of the U distinct reports.
        report_id: int64 ``[U]``, row of reports.parquet.
        without: records without a report.
    """

    rows: np.ndarray
    report: np.ndarray
    report_id: np.ndarray
    without: int


def open_pairs(manifest: Manifest) -> PairedSplit:
    """Which records of a split have a report, and which one.

    Raises:
        DataError: fewer than two reports to tell apart.
    """
    pairs = with_reports(manifest)
    if len(pairs.report_id) < 2:
        raise DataError(
            f"{manifest.directory}/{manifest.split}.meta.parquet: {len(pairs.report_id)} distinct reports; retrieval needs two"
        )
    return pairs


def with_reports(manifest: Manifest) -> PairedSplit:
    """:func:`open_pairs`, for a split that may hold any number of reports.

    Raises:
        DataError: the directory's files contradict each other.
    """
    report_ids = manifest.report_ids()
    rows = np.flatnonzero(report_ids >= 0)
    report_id, report = np.unique(report_ids[rows], return_inverse=True)
    return PairedSplit(rows, report.astype(np.int64), report_id, len(report_ids) - len(rows))


def embed_reports(
    pretrained: Pretrained,
    directory: Path,
    report_id: np.ndarray,
    cache: EmbeddingCache | None = None,
    use_token_files: bool = True,
) -> Embedding:
    """U reports through the text encoder, float32, on the CPU.

    Token ids come from ``reports.TAG.npz`` where the model's tokenizer has made it, else the texts are tokenised here.

    Args:
        pretrained: the model.
        directory: manifest directory.
        report_id: int64 ``[U]``, rows of reports.parquet.
        cache: where embeddings are kept; None: they are not.
        use_token_files: False: always tokenise.

    Raises:
        DataError: the token file is stale, or the tokenizer cannot be found.
    """
    tokenizer = pretrained.task_state.get("tokenizer_fingerprint")
    tokens = find_token_file(directory, "reports", tokenizer) if use_token_files else None

    def embed() -> Embedding:
        if tokens is not None:
            return pretrained.embed_tokens(tokens, report_id)
        texts = read_reports(directory).texts
        return pretrained.embed_text([texts[int(row)].as_py() for row in report_id])

    if cache is None:
        return embed()
    inputs = {
        "reports": fingerprint(directory / REPORTS_FILE),
        "rows": hashlib.sha256(np.ascontiguousarray(report_id, dtype="<i8").tobytes()).hexdigest(),
        "tokenizer": tokenizer or pretrained.tokenizer_source,
        **other_score(pretrained.model),
        "max_tokens": [pretrained.max_text_tokens, None if tokens is None else tokens.info["max_tokens"]],
    }
    return embedding_of(cache.columns("reports", inputs, len(report_id), lambda: columns_of(embed())))
