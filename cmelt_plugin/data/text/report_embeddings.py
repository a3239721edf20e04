"""What a frozen text encoder makes of each report, computed once: ``reports.<encoder>.npy``, described in ``….json``.

That is one vector a report, or a state for each of its tokens, one report's below the other's. ``<encoder>`` is the beginning
of a fingerprint of the encoder's weights and of what is taken of its states, so that a directory can hold what several encoders
make.
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
PRECISIONS = ("float32", "float16")

Embed = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Token ids of B texts → float ``[B, W]``; states ``[B, N, W]``, at the end of shorter texts of no meaning."""


class ReportEmbeddings:
    """Vectors of all reports of a manifest directory, or states of their tokens, which stay in their file.

    Args:
        vectors: all of them, one below the other.
        info: see below.
        offsets: int64 ``[R + 1]``, where each report's begin.

    Attributes:
        info: ``format``, ``encoder`` and ``tokenizer`` (fingerprints), ``reports`` (that of reports.parquet), ``max_tokens``,
            ``shape`` and ``vectors`` (fingerprint of the file); of states ``added_tokens``, how many a report has more than
            tokens.
    """

    def __init__(self, vectors: MappedArray, info: dict[str, Any], offsets: np.ndarray) -> None:
        self._vectors = vectors
        self.info = info
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def width(self) -> int:
        """Numbers a report."""
        return self.info["shape"][1]

    def rows(self, report_ids: np.ndarray) -> np.ndarray:
        """Vectors of ``report_ids [B]``: float32 ``[B, W]``, a copy.

        Raises:
            IndexError: a report that does not exist; -1 means "no report" in manifests.
        """
        return self.states(report_ids)[:, 0].astype(np.float32, copy=False)

    def states(self, report_ids: np.ndarray) -> np.ndarray:
        """States of ``report_ids [B]``: ``[B, N, W]`` in the file's precision, a copy; zero behind a report's last.

        Raises:
            IndexError: as :meth:`rows`.
        """
        report_ids = np.asarray(report_ids, dtype=np.int64)
        if len(report_ids) and not 0 <= report_ids.min() <= report_ids.max() < len(self):
            raise IndexError(f"reports {report_ids.min()} to {report_ids.max()} of {len(self)}")
        first, end = self.offsets[report_ids], self.offsets[report_ids + 1]
        found = np.zeros((len(report_ids), (end - first).max(initial=1), self.width), self._vectors.array.dtype)
        for place, start, stop in zip(found, first.tolist(), end.tolist()):
            place[: stop - start] = self._vectors.slice(start * self.width, stop * self.width).reshape(-1, self.width)
        return found


def vectors_path(directory: str | os.PathLike, encoder: str) -> Path:
    """Where the vectors of the encoder with the fingerprint ``encoder`` (``sha256:…``) stand."""
    return Path(directory) / f"reports.{encoder.split(':')[-1][:16]}.npy"


def load_report_embeddings(
    directory: str | os.PathLike, tokens: TokenTable, encoder: str, max_tokens: int, added_tokens: int | None = None
) -> ReportEmbeddings:
    """The vectors of a directory's reports, or the states of their tokens, if they are what ``encoder`` would make of
    ``tokens`` now.

    Args:
        directory: the manifest directory.
        tokens: token ids of its reports.
        encoder: fingerprint of the encoder and of what is taken of its states.
        max_tokens: texts are cut to so many ids.
        added_tokens: there is a state for each token of a report and so many more; None: there is one vector a report.

    Raises:
        DataError: there are none, they are damaged, or were made from other reports, ids or weights.
    """
    path = vectors_path(directory, encoder)
    again = "remove both files and make them again"
    if not path.is_file():
        raise DataError(f"{path}: no such file; the vectors of this text encoder have not been computed for these reports")
    info = read_object(path.with_suffix(".json"))
    for key, wanted in _identity(tokens, encoder, max_tokens, added_tokens).items():
        if info.get(key) != wanted:
            raise DataError(f"{path}: stale, made with another {key} ({info.get(key)!r:.80}, now {wanted!r:.80}); {again}")
    check_listed(path)
    try:
        vectors = map_npy(path)
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); {again}") from None
    shape = None if vectors is None else list(vectors.array.shape)
    offsets = _offsets(tokens, max_tokens, added_tokens)
    if (
        vectors is None
        or vectors.array.dtype.name not in PRECISIONS
        or shape != info.get("shape")
        or vectors.array.shape[0] != offsets[-1]
    ):
        what = "" if added_tokens is None else f" with {offsets[-1]} tokens"
        raise DataError(f"{path}: holds {shape} where there are {len(tokens)} reports{what}; {again}")
    if fingerprint(path) != info.get("vectors"):
        raise DataError(f"{path}: not the vectors that {path.with_suffix('.json').name} describes; {again}")
    return ReportEmbeddings(vectors, info, offsets)


def make_report_embeddings(
    directory: str | os.PathLike,
    tokens: TokenTable,
    embed: Embed,
    encoder: str,
    max_tokens: int,
    batch_size: int = 64,
    added_tokens: int | None = None,
    precision: str = "float32",
) -> Path:
    """Compute the vectors of all reports, or the states of their tokens, and write them; a run that was stopped goes on where
    it was.

    Args:
        directory, tokens, encoder, max_tokens, added_tokens: as in :func:`load_report_embeddings`.
        embed: token ids of B texts, uncut → ``[B, W]``, or of states ``[B, N, W]``; it cuts them to ``max_tokens``.
        batch_size: texts at once. They are of like length, so that little is padding.
        precision: of the file, one of :data:`PRECISIONS`.

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
        identity = _identity(tokens, encoder, max_tokens, added_tokens)
        _begin(work, {**identity, "precision": precision})
        lengths = np.diff(_offsets(tokens, max_tokens, added_tokens))
        starts = range(0, len(tokens), BLOCK)
        for start in tqdm(starts, desc=path.name, unit=f"{BLOCK} reports", disable=len(starts) < 4):
            block = work / f"{start:09d}.npy"
            if not block.is_file():
                reports = range(start, min(start + BLOCK, len(tokens)))
                vectors = _block(tokens, reports, embed, batch_size, lengths, np.dtype(precision))
                with atomic_path(block) as temporary:
                    np.save(temporary, vectors)
        _join(path, [work / f"{start:09d}.npy" for start in starts], identity)
        shutil.rmtree(work)
    return path


def _offsets(tokens: TokenTable, max_tokens: int, added_tokens: int | None) -> np.ndarray:
    """Where the vectors or states of each report begin, int64 ``[R + 1]``."""
    lengths = tokens.lengths()
    own = np.ones_like(lengths) if added_tokens is None else np.minimum(lengths, max_tokens) + added_tokens
    return np.concatenate([[0], np.cumsum(own)])


def _identity(tokens: TokenTable, encoder: str, max_tokens: int, added_tokens: int | None) -> dict[str, Any]:
    return {
        **({} if added_tokens is None else {"added_tokens": added_tokens}),
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


def _block(
    tokens: TokenTable, reports: range, embed: Embed, batch_size: int, lengths: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """Vectors or states of some reports, one below the other, ``[…, W]``."""
    texts = [tokens[report] for report in reports]
    order = np.argsort([len(text) for text in texts], kind="stable")
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        states = np.asarray(embed([texts[place] for place in batch]))
        states = states.reshape(len(batch), -1, states.shape[-1])
        for place, values in zip(batch, states):
            with np.errstate(over="ignore"):
                found[place] = values[: lengths[reports[place]]].astype(dtype)
            if not np.isfinite(found[place]).all():
                raise DataError(
                    f"the text encoder gives NaN, infinity or more than {dtype.name} holds for report {reports[place]}; are "
                    "its weights whole?"
                )
    return np.concatenate(found)


def _join(path: Path, blocks: list[Path], identity: dict[str, Any]) -> None:
    """All blocks in one file, and its description."""
    described = path.with_suffix(".json")
    try:
        first = read_npy(blocks[0])  # all blocks are of its precision
        shape = (sum(len(read_npy(block)) for block in blocks), first.shape[1])
        with replacing(path.parent, [path.name, described.name]):
            with atomic_path(path) as temporary:
                vectors = np.lib.format.open_memmap(temporary, mode="w+", dtype=first.dtype, shape=shape)
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
