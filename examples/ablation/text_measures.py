"""What a text encoder knows of reports: the words it predicts, which reports it holds to be alike, which negatives it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.batches.rng import record_generators
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.padding import pad
from cmelt_plugin.data.text.word_masking import WordMasker
from cmelt_plugin.losses.mlm import mlm_loss
from cmelt_plugin.modules.text.masked_text_encoder import MaskedTextEncoder
from cmelt_plugin.modules.text.text_encoder import describe_text_encoder
from preprocess.corpus.token_ids import added_ids, encode_words
from preprocess.text.hf_tokenizer import load_tokenizer, mask_id, special_ids

BATCH = 64


def held_out_reports(manifest: Path) -> np.ndarray:
    """Reports of test records that no training record has, ascending."""
    used = [Manifest.open(manifest, split).report_ids() for split in ("test", "train")]
    return np.setdiff1d(used[0][used[0] >= 0], used[1])


def masked_words(folder: str, texts: Sequence[str], draws: int = 5, probability: float = 0.15) -> dict[str, float]:
    """Perplexity and share of masked words predicted rightly, each text by itself, as systems read reports.

    Args:
        folder: name or folder of a text encoder.
        texts: n of them.
        draws: times each is masked anew; the masks are the same for every encoder of one tokenizer.
        probability: share of words masked.
    """
    tokenizer = load_tokenizer(folder)
    torch.manual_seed(0)  # of a head that is not there
    encoder = MaskedTextEncoder(describe_text_encoder(folder), folder).eval()
    masker = WordMasker(probability, mask_id(tokenizer), len(tokenizer), special_ids(tokenizer))
    first, last = added_ids(tokenizer)
    ids, words = encode_words(tokenizer, texts)
    rows = [np.array([*first, *row, *last], dtype=np.int64) for row in ids]
    begins = [np.array([*[True] * len(first), *flags, *[True] * len(last)]) for flags in words]
    order = np.argsort([len(row) for row in rows], kind="stable")
    loss, right, count = 0.0, 0, 0
    for draw in range(draws):
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            text, padding = pad([rows[index] for index in chosen], int(tokenizer.pad_token_id))
            begins_word = np.ones(text.shape, dtype=bool)
            begins_word[~padding] = np.concatenate([begins[index] for index in chosen])
            uniforms = np.zeros((3, *text.shape))
            for place, generator in enumerate(record_generators(1, draw, chosen)):
                length = len(rows[chosen[place]])
                uniforms[:, place, :length] = generator.random((3, length))
            masked = masker(text, padding, uniforms, begins_word)
            target = torch.from_numpy(masked.target)
            with torch.inference_mode():
                positions = torch.from_numpy(np.flatnonzero(masked.mask))
                logits = encoder(torch.from_numpy(masked.ids), torch.from_numpy(padding), positions)
            loss += mlm_loss(logits, target).item()
            right += int((logits.argmax(dim=-1) == target).sum())
            count += len(target)
    return {"perplexity": math.exp(loss / count), "accuracy": right / count, "words": count}


def nearest(vectors: np.ndarray) -> np.ndarray:
    """The nearest other row of each of ``vectors [n, d]`` of unit norm: int64 ``[n]``."""
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    return similarity.argmax(axis=1)


def labels_of_reports(manifest: Path, split: str, n_reports: int) -> np.ndarray:
    """Labels that most records of a report have, bool ``[reports, classes]``; none of reports without a record."""
    opened = Manifest.open(manifest, split)
    found: Any = opened.labels()
    ids, labels = opened.report_ids(), np.nan_to_num(np.asarray(found[0], dtype=np.float64))
    sums = np.zeros((n_reports, labels.shape[1]))
    np.add.at(sums, ids[ids >= 0], labels[ids >= 0])
    counts = np.bincount(ids[ids >= 0], minlength=n_reports)
    return sums > counts[:, None] / 2


def in_common(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jaccard index of two lists of label sets, bool ``[…, classes]``; 1 where both are empty."""
    both, either = (first & second).sum(axis=-1), (first | second).sum(axis=-1)
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))


def negatives(folder: Path, labels: np.ndarray, counts: np.ndarray, split: str = "train") -> dict[str, float]:
    """Of a split's table of negatives: how far they are, whether the text gives them away, and how wrong they are.

    Args:
        folder: with the table.
        labels: bool ``[reports, classes]``.
        counts: int ``[reports]``, records of the split that carry each.
        split: its name.
    """
    table = NegativeTable.load(folder, split)
    reports = np.flatnonzero(counts)
    chosen = np.asarray(table.neighbours[reports])
    weights = np.repeat(counts[reports], table.k)
    common = in_common(labels[reports][:, None, :], labels[chosen]).ravel()
    named = ("share_used", "text_only_auc", "marginal_auc", "mean_distance", "random_mean_distance")
    return {
        **{name: float(table.info[name]) for name in named},
        "same_labels": float(np.average(common == 1.0, weights=weights)),
        "labels_in_common": float(np.average(common, weights=weights)),
    }
