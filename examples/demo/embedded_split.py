"""A held-out split through both encoders: records, their reports and, where there are labels, the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.own_files import PROMPTS_FILE
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.pairs import embed_reports, open_pairs
from cmelt_plugin.evaluation.embedding.records import embed_records
from cmelt_plugin.evaluation.zero_shot.class_texts import choose_class_texts, embed_class_texts
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained


class EmbeddedSplit(NamedTuple):
    """Embeddings of a split's N records, their U distinct reports, and scores of C classes.

    Attributes:
        model: gives their similarity.
        ecg: N embeddings.
        text: U embeddings, one per distinct report.
        report: int64 ``[N]``, each record's row of ``text``.
        labels: ``[N, C]`` 0/1/NaN, or None without labels and class texts.
        scores: ``[N, C]`` similarity of each record to each class, or None.
        names: the C classes.
        texts: class → its texts.
    """

    model: Any
    ecg: Embedding
    text: Embedding
    report: Tensor
    labels: np.ndarray | None
    scores: np.ndarray | None
    names: list[str]
    texts: Mapping[str, Sequence[str]]


def embed_split(pretrained: Pretrained, directory: Path, split: str, batch_size: int = 64) -> EmbeddedSplit:
    """Embed one split of a manifest directory.

    Raises:
        DataError: a file is missing or does not belong to the others, or a record has no report.
    """
    manifest = Manifest.open(directory, split)
    pairs = open_pairs(manifest)
    if pairs.without:
        raise DataError(f"{directory}/{split}.meta.parquet: a record without a report")
    ecg = embed_records(pretrained.model, manifest, batch_size, pretrained.device)
    text = embed_reports(pretrained, directory, pairs.report_id)
    labels, scores, names = None, None, []
    texts: Mapping[str, Sequence[str]] = {}
    labelled = manifest.labels()
    if labelled is not None and (directory / PROMPTS_FILE).is_file():
        labels, names = labelled
        chosen = choose_class_texts(directory, names)
        texts = chosen.texts
        scores = embed_class_texts(pretrained, directory, chosen).scores(pretrained.model, ecg, pretrained.device)
    return EmbeddedSplit(pretrained.model, ecg, text, torch.from_numpy(pairs.report), labels, scores, names, texts)
