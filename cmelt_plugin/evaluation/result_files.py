"""What an evaluation leaves on disk: ``result.json`` and, for curves and intervals, ``scores.npz``.

Every evaluation command writes one folder per result, and the results page reads any number of them. A result says what
was evaluated (checkpoint, manifest, split, sizes), how (settings) and what came out, so that a table can be made from
folders alone.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.files import atomic_path, read_json, write_json
from cmelt_plugin.errors import DataError

RESULT_FILE = "result.json"
SCORES_FILE = "scores.npz"
EMBEDDINGS_FILE = "embeddings.npz"
GENERATED_FILE = "reports.jsonl"
GROUNDED_FILE = "examples.npz"
VALUES_FILE = "values.npz"
RANKS_FILE = "ranks.npz"
UNCERTAINTY_FILE = "uncertainty.npz"
CONFIDENCE_FILE = "confidence.npz"
FORMAT = 1

KINDS = (
    "finetune",  # classifier, whole model trained (Table 1 Dx.)
    "identification",  # gallery/probe accuracy (Table 1 Id.)
    "linear_probe",  # Table 2
    "zero_shot",  # Table 3
    "shift",  # Table 4
    "code_test",  # Table 5
    "retrieval",
    "generation",  # reports written for recordings
    "grounding",  # where a model looks for each sentence
    "regression",  # a number such as the ejection fraction
    "uncertainty",  # what the variances of embeddings are worth
    "confidence",  # what probabilities, promised recalls and abstention are worth
    "drift",  # whether recordings have changed since
    "ablation",  # Tables 6-8
)


class Scores(NamedTuple):
    """What a classifier said about N records of C classes.

    Attributes:
        record_id, subject_id: N strings.
        names: the C classes.
        labels: float32 ``[N, C]``, 1/0, NaN = unknown.
        scores: float32 ``[N, C]``, larger = more likely.
    """

    record_id: Sequence[str]
    subject_id: Sequence[str]
    names: Sequence[str]
    labels: np.ndarray
    scores: np.ndarray


@dataclass
class Result:
    """One evaluation.

    Attributes:
        kind: one of :data:`KINDS`.
        model: short name of the model for tables ("ours" where the user gives none).
        checkpoint: path of what was evaluated.
        data_set: e.g. "ptb-xl"; the target in a distribution shift.
        label_set: e.g. "ptb-xl-super"; "" where there are no classes.
        split: "test" for what is published.
        n_records, n_subjects: sizes of the split that was evaluated.
        settings: what else decides the metrics, e.g. ``fraction``, ``seed``, ``seeds``, ``subset``, ``leads``, ``pool``,
            ``source`` (label set a probe was trained on), ``prompt_kind``.
        metrics: name → value in the unit interval (percent is for tables); e.g. ``macro_auc``, ``macro_auprc``,
            ``macro_f1``, ``accuracy``, ``cinc_score``, ``recall_at_1``. Errors of a regression are in its own unit.
        intervals: name → (low, high), 95 %, for some of ``metrics`` and ``auc/<class>``.
        spread: name → standard deviation over seeds.
        per_class: class → {"positives", "negatives", "auc", "auprc", "f1", "threshold"} (what there is).
        excluded: classes without positives or without negatives.
        notes: sentences a reader of the metrics must know.
        command: what was typed.
    """

    kind: str
    model: str
    checkpoint: str
    data_set: str
    label_set: str
    split: str
    n_records: int
    n_subjects: int
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}, not one of {', '.join(KINDS)}")


class StoredResult(NamedTuple):
    """A result as found on disk."""

    folder: Path
    result: Result

    def scores(self) -> Scores | None:
        """What the result was computed from; None where it was not kept.

        Raises:
            DataError: the file is damaged.
        """
        arrays = self.arrays(SCORES_FILE, Scores._fields, "run the evaluation again")
        if arrays is None:
            return None
        record_id, subject_id, names, labels, scores = arrays
        return Scores(record_id.tolist(), subject_id.tolist(), names.tolist(), labels, scores)

    def arrays(self, file: str, names: Sequence[str], remedy: str) -> list[np.ndarray] | None:
        """Arrays of an ``.npz`` file beside the result; None where there is no such file.

        Raises:
            DataError: the file is damaged; ``remedy`` says what to do.
        """
        path = self.folder / file
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return [arrays[name] for name in names]
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
            raise DataError(f"{path}: unreadable ({error}); {remedy}") from None


def write_result(folder: str | os.PathLike, result: Result, scores: Scores | None = None) -> Path:
    """Write a result folder, scores first: a folder with ``result.json`` is whole. Returns the path of that file."""
    folder = Path(folder)
    (folder / RESULT_FILE).unlink(missing_ok=True)
    if scores is None:
        (folder / SCORES_FILE).unlink(missing_ok=True)
    else:
        with atomic_path(folder / SCORES_FILE) as temporary:
            np.savez(
                temporary,
                record_id=np.asarray(scores.record_id, dtype=np.str_),
                subject_id=np.asarray(scores.subject_id, dtype=np.str_),
                names=np.asarray(scores.names, dtype=np.str_),
                labels=np.asarray(scores.labels, dtype=np.float32),
                scores=np.asarray(scores.scores, dtype=np.float32),
            )
    write_json(folder / RESULT_FILE, {"format": FORMAT, **_plain(asdict(result))})
    return folder / RESULT_FILE


def read_result(folder: str | os.PathLike) -> StoredResult:
    """Read one result folder.

    Raises:
        DataError: there is none, or one of another version.
    """
    path = Path(folder) / RESULT_FILE
    values = read_json(path)
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise DataError(f"{path}: not a result of format {FORMAT}; run the evaluation again with this version")
    values = {name: _not_a_number(value) for name, value in values.items()}
    values["intervals"] = {name: tuple(pair) for name, pair in values.get("intervals", {}).items()}
    try:
        return StoredResult(Path(folder), Result(**values))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}; run the evaluation again with this version") from None


def read_results(folders: Iterable[str | os.PathLike]) -> list[StoredResult]:
    """All results in ``folders`` and below, in the order of their paths, each once.

    Raises:
        DataError: a folder does not exist, or none holds a result.
    """
    results: dict[Path, StoredResult] = {}
    paths = [Path(folder) for folder in folders]
    for folder in paths:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        for path in sorted(folder.rglob(RESULT_FILE)):
            results.setdefault(path.parent.resolve(), read_result(path.parent))
    if not results:
        raise DataError(f"{', '.join(map(str, paths))}: no {RESULT_FILE} here or below; run an evaluation with --results")
    return list(results.values())


def _plain(value: Any) -> Any:
    """JSON has no NaN and no NumPy numbers: NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _not_a_number(value: Any) -> Any:
    """null back to NaN in the dictionaries and pairs of numbers."""
    if isinstance(value, dict):
        return {key: float("nan") if item is None else _not_a_number(item) for key, item in value.items()}
    if isinstance(value, list):
        return [float("nan") if item is None else item for item in value]
    return value
