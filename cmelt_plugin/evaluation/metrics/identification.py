"""Recognising subjects by their ECG: a probe recording against a gallery of one recording per subject (paper Table 1, Id.)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Identification(NamedTuple):
    """How P subjects were recognised.

    Attributes:
        top1: share whose own gallery recording is the most similar of all.
        mean_rank: mean place of the own recording, 1 = most similar; chance is (P + 1) / 2.
        ranks: int64 ``[P]``, each subject's place.
        subjects: the P subjects; empty where they were not named.
    """

    top1: float
    mean_rank: float
    ranks: np.ndarray
    subjects: list[str]


def top1_accuracy(gallery: np.ndarray, probe: np.ndarray) -> float:
    """Share of probes whose most similar gallery row is their own; see :func:`own_ranks`."""
    return float((own_ranks(gallery, probe) == 1).mean())


def own_ranks(gallery: np.ndarray, probe: np.ndarray, chunk: int = 1024) -> np.ndarray:
    """Place of each probe's own gallery row by cosine similarity, 1 = first: int64 ``[P]``.

    Rows as similar as the own one stand before it, so that an encoder that maps all subjects to one point recognises none.

    Args:
        gallery, probe: ``[P, D]``; row i of both is the same subject.
        chunk: probes compared at once, for memory.

    Raises:
        ValueError: shapes differ, there is none, or a value is not finite.
    """
    gallery, probe = np.asarray(gallery, dtype=np.float64), np.asarray(probe, dtype=np.float64)
    if gallery.ndim != 2 or gallery.shape != probe.shape or not len(gallery):
        raise ValueError(f"gallery {gallery.shape} and probe {probe.shape} must hold the same subjects, at least one")
    if not (np.isfinite(gallery).all() and np.isfinite(probe).all()):
        raise ValueError("embeddings hold NaN or infinity")
    gallery, probe = _unit(gallery), _unit(probe)
    ranks = np.empty(len(probe), dtype=np.int64)
    for start in range(0, len(probe), chunk):
        rows = np.arange(start, min(start + chunk, len(probe)))
        similarity = _cosines(probe[rows], gallery)
        own = similarity[np.arange(len(rows)), rows]
        # Equal vectors differ in the last bits, depending on where in the product they stand.
        ranks[rows] = (similarity >= own[:, None] - 1e-12).sum(axis=1)
    return ranks


def gallery_and_probe(subjects: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of the first and of the second record of every subject with at least two, int64 ``[P]`` each.

    Subjects come in the order of their first records; an empty subject id stands for an unknown one, who takes no part.
    """
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    for row, subject in enumerate(map(str, subjects)):
        if not subject:
            continue
        if subject not in first:
            first[subject] = row
        elif subject not in second:
            second[subject] = row
    both = [subject for subject in first if subject in second]
    return np.array([first[s] for s in both], dtype=np.int64), np.array([second[s] for s in both], dtype=np.int64)


def identify(embeddings: np.ndarray, subjects: Sequence[str]) -> Identification:
    """Recognise every subject with two records: the first is the gallery's, the second the probe.

    Args:
        embeddings: ``[N, D]``.
        subjects: N subject ids, in the order of the records.

    Raises:
        ValueError: lengths differ or no subject has two records.
    """
    if len(embeddings) != len(subjects):
        raise ValueError(f"{len(embeddings)} embeddings for {len(subjects)} subject ids")
    gallery, probe = gallery_and_probe(subjects)
    if not len(gallery):
        raise ValueError("no subject has two records; identification compares the first with the second")
    embeddings = np.asarray(embeddings)
    ranks = own_ranks(embeddings[gallery], embeddings[probe])
    return Identification(
        float((ranks == 1).mean()), float(ranks.mean()), ranks, [str(subjects[row]) for row in gallery.tolist()]
    )


def _unit(values: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(norm == 0, 1.0, norm)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``[A, D]`` and ``[B, D]`` of unit length → ``[A, B]``. Features of one encoder, which no model scores in its own way."""
    return a @ b.T
