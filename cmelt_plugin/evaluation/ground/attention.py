"""Where a model looks for each sentence of the reports of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.padding import pad, pad_spans
from cmelt_plugin.evaluation.embedding.batches import record_batches
from cmelt_plugin.evaluation.embedding.passes import evaluating
from cmelt_plugin.evaluation.embedding.precision import encoder_precision
from cmelt_plugin.evaluation.ground.sentences import ReportTokens
from cmelt_plugin.models.inference.pretrained import Pretrained


class RecordAttention(NamedTuple):
    """Attention over the real part of one recording.

    Attributes:
        row: of the split.
        ecg: ``[12, T]`` float32 mV.
        sentences: ``[S, T']`` float32, weights of each sentence over steps in time.
        queries: ``[Q, T']``, what they are mixed from.
        samples_per_step: step t begins at sample t · ``samples_per_step``.
    """

    row: int
    ecg: np.ndarray
    sentences: np.ndarray
    queries: np.ndarray
    samples_per_step: int


@torch.no_grad()
def record_attention(
    pretrained: Pretrained,
    manifest: Manifest,
    reports: Mapping[int, ReportTokens],
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    bf16: bool = False,
) -> Iterator[RecordAttention]:
    """Attention in the recordings of a split that have a report, in the manifest's order.

    Args:
        pretrained: whose model is a :class:`~cmelt_plugin.models.base.Grounding`.
        manifest: the split.
        reports: row of reports.parquet → report.
        batch_size: recordings at a time.
        device: where to compute.
        bf16: the model runs in bfloat16 autocast.
    """
    report_ids = manifest.report_ids()
    pad_id, start = int(pretrained.tokenizer.pad_token_id), 0
    name = f"grounding, {manifest.directory.name}/{manifest.split}"
    with tqdm(total=len(manifest), desc=name, unit=" records") as bar, evaluating(pretrained.model, device) as model:
        for ecg, n_samples in record_batches(manifest, batch_size, device):
            rows = start + np.flatnonzero(report_ids[start : start + len(ecg)] >= 0)
            chosen = torch.from_numpy(rows - start).to(ecg.device)
            start += len(ecg)
            bar.update(len(ecg))
            if not len(rows):
                continue
            texts = [reports[int(report_ids[row])] for row in rows]
            arrays = (*pad([text.ids for text in texts], pad_id), *pad_spans([text.spans for text in texts]))
            tensors = [torch.from_numpy(array).to(device) for array in arrays]
            ecg, n_samples = ecg[chosen], None if n_samples is None else n_samples[chosen]
            with encoder_precision(device, bf16):
                sentences, queries, step = model.grounding(ecg, *tensors, n_samples)
            parts = (part.float().cpu().numpy() for part in (ecg, sentences, queries))
            for row, text, signal, of_sentences, of_queries in zip(rows.tolist(), texts, *parts):
                steps = -(-int(manifest.n_samples[row]) // step)  # without padding
                count = len(text.sentences)
                yield RecordAttention(row, signal, of_sentences[:count, :steps], of_queries[:, :steps], step)
