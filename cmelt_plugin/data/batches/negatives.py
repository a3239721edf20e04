"""Negative reports: random ones, or found ahead of training (N3S).

Those are ``SPLIT.n3s.npy`` and ``SPLIT.n3s.json`` in the manifest directory.

Paper section 3.2: a negative is drawn uniformly from the 64 reports farthest from the record's own report.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path, fingerprint, read_json, write_json
from cmelt_plugin.data.store.memory_maps import MappedArray, PickledWithoutArray, blocks, map_npy
from cmelt_plugin.data.store.npy_files import read_npy
from cmelt_plugin.data.text.report_fingerprints import known_fingerprints
from cmelt_plugin.data.text.reports import count_reports
from cmelt_plugin.errors import DataError

FORMAT = 1


def negatives_paths(directory: str | os.PathLike, split: str) -> tuple[Path, Path]:
    """The table's array and description: ``SPLIT.n3s.npy``, ``SPLIT.n3s.json``."""
    return Path(directory) / f"{split}.n3s.npy", Path(directory) / f"{split}.n3s.json"


def has_negatives(directory: str | os.PathLike) -> bool:
    """Whether any split of a manifest directory has such a table."""
    return any(Path(directory).glob("*.n3s.npy"))


def source_fingerprints(directory: str | os.PathLike, split: str) -> dict[str, str]:
    """Fingerprints of what negatives are computed from: the texts of the reports and the split's records.

    Raises:
        DataError: one of the files is missing.
    """
    return {key: known[0] for key, known in _known_sources(directory, split).items()}


def _known_sources(directory: str | os.PathLike, split: str) -> dict[str, tuple[str, ...]]:
    """All fingerprints by which a description may name each source, the one for new descriptions first."""
    paths = {
        "reports_fingerprint": Path(directory) / "reports.parquet",
        "split_fingerprint": Path(directory) / f"{split}.meta.parquet",
    }
    for path in paths.values():
        if not path.is_file():
            raise DataError(f"{path}: no such file; write the manifest directory again with its preprocess command")
    reports, records = paths.values()
    return dict(zip(paths, (known_fingerprints(reports), (fingerprint(records),))))


class RandomNegatives:
    """Negatives without a table: the report of a record drawn uniformly from those with another report.

    Args:
        report_ids: int ``[n]``, the report of every record; at least two different ones.
    """

    def __init__(self, report_ids: np.ndarray) -> None:
        self.report_ids = report_ids
        self.report_ends = np.cumsum(np.bincount(report_ids))  # how many records have report 0, 0 or 1, …

    def draw(self, report_ids: np.ndarray, u: np.ndarray) -> np.ndarray:
        """A negative report for each of ``report_ids [m]``, chosen by ``u [m]`` in [0, 1).

        Half of the digits of ``u`` draw from all records; where they hit the report itself or a copy, the rest draws again,
        from the others alone.
        """
        n_records = len(self.report_ids)
        place = u * n_records
        row = place.astype(np.int64)
        drawn = self.report_ids[row]
        same = np.flatnonzero(drawn == report_ids)
        # Records sorted by report: those of report r stand at ends[r] - copies … ends[r] - 1 and are stepped over.
        ends, own = self.report_ends, report_ids[same]
        copies = ends[own] - np.where(own > 0, ends[own - 1], 0)
        rank = ((place[same] - row[same]) * (n_records - copies)).astype(np.int64)
        rank += np.where(rank >= ends[own] - copies, copies, 0)
        drawn[same] = np.searchsorted(ends, rank, side="right")
        return drawn


class NegativeTable(PickledWithoutArray):
    """Negatives of every report.

    Attributes:
        neighbours: int32 ``[n reports, k]`` of report ids, repeated ids allowed; rows of reports that do not occur in the
            split hold -1.
        info: the description (embedder, strategy, metric, fingerprints, diagnostics).
    """

    large_array = "neighbours"

    def __init__(self, neighbours: np.ndarray | MappedArray, info: dict[str, Any]) -> None:
        """Check the array.

        Raises:
            DataError: wrong shape or type, ids out of range, a partly empty row, or a report among its own negatives.
        """
        mapped = neighbours if isinstance(neighbours, MappedArray) else None
        if isinstance(neighbours, MappedArray):
            neighbours = neighbours.array
        if neighbours.ndim != 2 or neighbours.shape[1] == 0 or neighbours.dtype != np.int32:
            raise DataError(f"negatives: expected int32 [reports, k], got {neighbours.dtype} {neighbours.shape}")
        n = len(neighbours)
        for start, part in blocks(neighbours, mapped):
            if part.min() < -1 or part.max() >= n:
                raise DataError(f"negatives: report ids outside 0..{n - 1}")
            empty = part < 0
            if (empty.any(axis=1) != empty.all(axis=1)).any():
                raise DataError("negatives: a row is partly empty")
            if (part == np.arange(start, start + len(part), dtype=np.int32)[:, None]).any():
                raise DataError("negatives: a report is listed as its own negative")
        self.neighbours = neighbours
        self.info = dict(info)
        self._mapped = mapped

    def __len__(self) -> int:
        return len(self.neighbours)

    @property
    def k(self) -> int:
        """Negatives per report."""
        return self.neighbours.shape[1]

    def draw(self, report_ids: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Draw one negative per report, uniformly over its row.

        Args:
            report_ids: int ``[m]``, the records' own reports.
            u: float ``[m]`` in [0, 1), the caller's random numbers.

        Returns:
            int32 ``[m]`` report ids: ``neighbours[report_ids, floor(u * k)]``.

        Raises:
            DataError: an id is -1 (no report), out of range, or its report does not occur in this split.
        """
        report_ids = np.asarray(report_ids)
        if report_ids.size and (report_ids.min() < 0 or report_ids.max() >= len(self)):
            raise DataError(f"negatives: asked for report ids outside 0..{len(self) - 1}")
        # float32 numbers just below 1 can round up to k.
        column = np.minimum((np.asarray(u) * self.k).astype(np.int64), self.k - 1)
        if self._mapped is None:
            drawn = self.neighbours[report_ids, column]
        else:
            drawn = self._mapped.take(report_ids.astype(np.int64) * self.k + column)
        if drawn.size and drawn.min() < 0:
            absent = int(report_ids[drawn < 0][0])
            raise DataError(f"negatives: report {absent} does not occur in split {self.info.get('split', '?')}")
        return drawn

    def save(self, directory: str | os.PathLike, split: str) -> None:
        """Write the array, then its description; fingerprints that ``info`` lacks are taken now.

        A run killed between the two leaves a description that does not match the array, which :meth:`load` refuses.
        """
        array_path, info_path = negatives_paths(directory, split)
        info = {"format": FORMAT, "split": split, "k": self.k, **source_fingerprints(directory, split), **self.info}
        with replacing(directory, [array_path.name, info_path.name]):
            with atomic_path(array_path) as temporary:
                np.save(temporary, self.neighbours, allow_pickle=False)
            info["neighbours_fingerprint"] = fingerprint(array_path)
            write_json(info_path, info)
        self.info = info

    @classmethod
    def load(cls, directory: str | os.PathLike, split: str) -> NegativeTable:
        """Read a split's negatives (memory-mapped, so that data-loader workers share them).

        Raises:
            DataError: a file is missing or damaged, or ``reports.parquet`` or ``SPLIT.meta.parquet`` has changed since.
        """
        array_path, info_path = negatives_paths(directory, split)
        rerun = f"run `python preprocess/n3s.py --manifest {directory} --splits {split} --embedder … --strategy …`"
        for path in (array_path, info_path):
            if not path.is_file():
                raise DataError(f"{path}: no such file; {rerun}")
        info = read_json(info_path)
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            raise DataError(f"{info_path}: not a description of negatives in format {FORMAT}; {rerun}")
        if info.get("split") != split:
            raise DataError(f"{info_path}: describes split {info.get('split')!r}, not {split!r}; {rerun}")
        sources = {"reports_fingerprint": "reports.parquet", "split_fingerprint": f"{split}.meta.parquet"}
        for key, known in _known_sources(directory, split).items():
            if info.get(key) not in known:
                raise DataError(f"{array_path}: stale, {sources[key]} has changed since it was made; {rerun}")
        check_listed(array_path)
        if fingerprint(array_path) != info.get("neighbours_fingerprint"):
            raise DataError(f"{array_path}: damaged, or not the array {info_path.name} describes; {rerun}")
        try:
            mapped = map_npy(array_path)
            table = cls(read_npy(array_path) if mapped is None else mapped, info)
        except (ValueError, EOFError, DataError) as error:
            raise DataError(f"{array_path}: {error}; {rerun}") from None
        n_reports = count_reports(Path(directory) / "reports.parquet")
        if len(table) != n_reports:
            raise DataError(f"{array_path}: {len(table)} rows for {n_reports} reports; {rerun}")
        return table
