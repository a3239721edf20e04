"""A whole split through a trained model's two encoders, outside the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.zero_shot.class_embeddings import class_embeddings
from cmelt_plugin.models.checkpoint import LoadedModel

MAX_TEXT_TOKENS = 256  # of models whose files do not say


class EmbeddedSplit(NamedTuple):
    """Embeddings of a split's N records, their U distinct reports and the C classes.

    Attributes:
        ecg: ``[N, D]``.
        text: ``[U, D]``, one row per distinct report.
        report: int64 ``[N]``, each record's row of ``text``.
        report_id: int64 ``[U]``, row of reports.parquet.
        labels: ``[N, C]`` 0/1/NaN, or None without labels and class texts.
        scores: ``[N, C]`` similarity of each record to each class, or None.
        names: the C classes.
    """

    ecg: Tensor
    text: Tensor
    report: Tensor
    report_id: Tensor
    labels: np.ndarray | None
    scores: np.ndarray | None
    names: list[str]


def open_tokens(directory: Path, kind: str, source: str, tag: str | None, fingerprint: str | None) -> TokenTable:
    """Token ids of ``kind`` (``reports`` or ``prompts``) that belong to the model's tokenizer.

    Raises:
        DataError: there are none, or several and ``tag`` does not choose, or they are another tokenizer's.
    """
    found = sorted(directory.glob(f"{kind}.{tag or '*'}.npz"))
    if len(found) != 1:
        raise DataError(f"{directory}: {len(found)} files {kind}.{tag or '*'}.npz, exactly one is needed")
    table = TokenTable.load(found[0], directory / source)
    if fingerprint is not None and table.info["fingerprint"] != fingerprint:
        raise DataError(f"{found[0]}: made with another tokenizer than the one the model was trained with")
    return table


@torch.no_grad()
def embed_split(loaded: LoadedModel, directory: Path, split: str, batch_size: int = 64) -> EmbeddedSplit:
    """Embed one split of a manifest directory with a loaded C-MELT.

    Raises:
        DataError: a file is missing or does not belong to the others.
    """
    model, task = loaded.model, loaded.cfg["task"]
    limit = task.get("max_text_tokens") or MAX_TEXT_TOKENS
    fingerprint = loaded.task_state.get("tokenizer_fingerprint")
    manifest = Manifest.open(directory, split)
    store = RecordStore(manifest.store_root)
    ecg = []
    for start in range(0, len(manifest), batch_size):
        part = slice(start, start + batch_size)
        n_samples = torch.from_numpy(manifest.n_samples[part].astype(np.int64))
        signal = torch.from_numpy(store.read(manifest.shard[part], manifest.row[part]))
        ecg.append(model.embed_ecg(signal, n_samples if (n_samples < signal.shape[-1]).any() else None).mean)

    report_id, report = np.unique(manifest.report_ids(), return_inverse=True)
    if report_id[0] < 0:
        raise DataError(f"{directory}/{split}.meta.parquet: a record without a report")
    tokens = open_tokens(directory, "reports", "reports.parquet", task.get("tokenizer"), fingerprint)
    text = [
        model.embed_text(*pad_texts(tokens, report_id[start : start + 256], limit)).mean
        for start in range(0, len(report_id), 256)
    ]
    ecg_embeddings = torch.cat(ecg)
    labels, scores, names = None, None, []
    labelled = manifest.labels()
    if labelled is not None and (directory / "prompts.json").is_file():
        labels, names = labelled
        prompts = open_tokens(directory, "prompts", "prompts.json", task.get("tokenizer"), fingerprint)
        classes = class_embeddings(model, prompts, len(names), ecg_embeddings.device)
        scores = (ecg_embeddings @ classes.T).numpy()
    return EmbeddedSplit(
        ecg_embeddings,
        torch.cat(text),
        torch.from_numpy(report.astype(np.int64)),
        torch.from_numpy(report_id.astype(np.int64)),
        labels,
        scores,
        names,
    )


def pad_texts(tokens: TokenTable, report_ids: np.ndarray, limit: int) -> tuple[Tensor, Tensor]:
    """Ids int64 ``[B, L]`` and padding bool ``[B, L]``; texts of more than ``limit`` tokens keep their last one."""
    texts: list[Any] = [tokens[int(index)] for index in report_ids]
    texts = [text if len(text) <= limit else np.append(text[: limit - 1], text[-1]) for text in texts]
    length = max(len(text) for text in texts)
    ids = torch.full((len(texts), length), int(tokens.info["pad_id"]))
    padding = torch.ones(len(texts), length, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.from_numpy(text.astype(np.int64))
        padding[row, : len(text)] = False
    return ids, padding
