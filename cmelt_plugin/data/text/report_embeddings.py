"""What a frozen text encoder makes of each report, computed once: ``reports.<encoder>.npy``, described in ``….json``.

``<encoder>`` is the beginning of a fingerprint of the encoder's weights and of how its states are pooled, so that a directory
can hold the vectors of several encoders.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
from tqdm import tqdm

from cmelt_plugin.data.directory.checksums import check_listed, fingerprint
from cmelt_plugin.data.directory.replacing import directory_lock, replacing
from cmelt_plugin.data.files import atomic_path, read_object, write_json
from cmelt_plugin.data.store.memory_maps import MappedArray, map_npy
from cmelt_plugin.data.store.npy_files import read_npy
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError

FORMAT = 1
BLOCK = 4096  # reports computed between two saves

Embed = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Token ids of B texts → float ``[B, W]``."""


class ReportEmbeddings:
    """Vectors of all reports of a manifest directory, which stay in their file.

    Attributes:
        info: ``format``, ``encoder`` and ``tokenizer`` (fingerprints), ``reports`` (that of reports.parquet), ``max_tokens``,
            ``shape`` and ``vectors`` (fingerprint of the file).
    """

    def __init__(self, vectors: MappedArray, info: dict[str, Any]) -> None:
        self._vectors = vectors
        self.info = info

    def __len__(self) -> int:
        return self.info["shape"][0]

    @property
    def width(self) -> int:
        """Numbers a report."""
        return self.info["shape"][1]

    def rows(self, report_ids: np.ndarray) -> np.ndarray:
        """Vectors of ``report_ids [B]``: float32 ``[B, W]``, a copy.

        Raises:
            IndexError: a report that does not exist; -1 means "no report" in manifests.
        """
        report_ids = np.asarray(report_ids)
        if len(report_ids) and not 0 <= report_ids.min() <= report_ids.max() < len(self):
            raise IndexError(f"reports {report_ids.min()} to {report_ids.max()} of {len(self)}")
        rows = [self._vectors.slice(row * self.width, (row + 1) * self.width) for row in report_ids.tolist()]
        return np.stack(rows) if rows else np.zeros((0, self.width), np.float32)


def vectors_path(directory: str | os.PathLike, encoder: str) -> Path:
    """Where the vectors of the encoder with the fingerprint ``encoder`` (``sha256:…``) stand."""
    return Path(directory) / f"reports.{encoder.split(':')[-1][:16]}.npy"


def load_report_embeddings(directory: str | os.PathLike, tokens: TokenTable, encoder: str, max_tokens: int) -> ReportEmbeddings:
    """The vectors of a directory's reports, if they are what ``encoder`` would make of ``tokens`` now.

    Args:
        directory: the manifest directory.
        tokens: token ids of its reports.
        encoder: fingerprint of the encoder and of how its states are pooled.
        max_tokens: texts are cut to so many ids.

    Raises:
        DataError: there are none, they are damaged, or were made from other reports, ids or weights.
    """
    path = vectors_path(directory, encoder)
    again = "remove both files and make them again"
    if not path.is_file():
        raise DataError(f"{path}: no such file; the vectors of this text encoder have not been computed for these reports")
    info = read_object(path.with_suffix(".json"))
    for key, wanted in _identity(tokens, encoder, max_tokens).items():
        if info.get(key) != wanted:
            raise DataError(f"{path}: stale, made with another {key} ({info.get(key)!r:.80}, now {wanted!r:.80}); {again}")
    check_listed(path)
    try:
        vectors = map_npy(path)
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); {again}") from None
    shape = None if vectors is None else list(vectors.array.shape)
    if (
        vectors is None
        or vectors.array.dtype != np.float32
        or shape != info.get("shape")
        or vectors.array.shape[0] != len(tokens)
    ):
        raise DataError(f"{path}: holds {shape} where there are {len(tokens)} reports; {again}")
    if fingerprint(path) != info.get("vectors"):
        raise DataError(f"{path}: not the vectors that {path.with_suffix('.json').name} describes; {again}")
    return ReportEmbeddings(vectors, info)


def make_report_embeddings(
    directory: str | os.PathLike,
    tokens: TokenTable,
    embed: Embed,
    encoder: str,
    max_tokens: int,
    batch_size: int = 64,
) -> Path:
    """Compute the vectors of all reports and write them; a run that was stopped goes on where it was.

    Args:
        directory, tokens, encoder, max_tokens: as in :func:`load_report_embeddings`.
        embed: token ids of B texts, uncut → ``[B, W]``; it cuts them to ``max_tokens``.
        batch_size: texts at once. They are of like length, so that little is padding.

    Returns:
        The file of vectors.

    Raises:
        DataError: there are no reports, a vector is not finite, or another run is computing the same.
    """
    path = vectors_path(directory, encoder)
    if len(tokens) == 0:
        raise DataError(f"{directory}: no reports to compute vectors of")
    work = path.with_name(f".{path.stem}")
    with directory_lock(work):
        identity = _identity(tokens, encoder, max_tokens)
        _begin(work, identity)
        starts = range(0, len(tokens), BLOCK)
        for start in tqdm(starts, desc=path.name, unit=f"{BLOCK} reports", disable=len(starts) < 4):
            block = work / f"{start:09d}.npy"
            if not block.is_file():
                vectors = _block(tokens, range(start, min(start + BLOCK, len(tokens))), embed, batch_size)
                with atomic_path(block) as temporary:
                    np.save(temporary, vectors)
        _join(path, [work / f"{start:09d}.npy" for start in starts], identity)
        shutil.rmtree(work)
    return path


def _identity(tokens: TokenTable, encoder: str, max_tokens: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "encoder": encoder,
        "tokenizer": tokens.info["fingerprint"],
        "reports": tokens.info["source_fingerprint"],
        "max_tokens": min(max_tokens, tokens.info["max_tokens"]),
    }


def _begin(work: Path, identity: dict[str, Any]) -> None:
    """An empty folder of blocks, or one that an earlier run for the same began."""
    described = work / "identity.json"
    if not described.is_file() or read_object(described) != identity:
        for file in work.iterdir():
            file.unlink()
        write_json(described, identity)


def _block(tokens: TokenTable, reports: range, embed: Embed, batch_size: int) -> np.ndarray:
    """Vectors of some reports, ``[len(reports), W]`` float32."""
    texts = [tokens[report] for report in reports]
    order = np.argsort([len(text) for text in texts], kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    parts = [np.asarray(embed([texts[place] for place in batch]), dtype=np.float32) for batch in batches]
    vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
    vectors[order] = np.concatenate(parts)
    odd = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(odd):
        raise DataError(f"the text encoder gives NaN or infinity for report {reports[int(odd[0])]}; are its weights whole?")
    return vectors


def _join(path: Path, blocks: list[Path], identity: dict[str, Any]) -> None:
    """All blocks in one file, and its description."""
    described = path.with_suffix(".json")
    try:
        first = read_npy(blocks[0])
        shape = (sum(len(read_npy(block)) for block in blocks), first.shape[1])
        with replacing(path.parent, [path.name, described.name]):
            with atomic_path(path) as temporary:
                vectors = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
                row = 0
                for block in blocks:
                    values = read_npy(block)
                    vectors[row : row + len(values)] = values
                    row += len(values)
                vectors.flush()
                del vectors
            write_json(described, {**identity, "shape": list(shape), "vectors": fingerprint(path)})
    except ValueError as error:
        raise DataError(f"{blocks[0].parent}: a block is damaged ({error}); delete this folder and run again") from None
