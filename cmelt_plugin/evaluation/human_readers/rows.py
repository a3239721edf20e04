"""Readers and models against the gold standard of CODE-test, a row of the comparison each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.code_test_annotations import CLASSES, DATA_SET, GOLD, LABEL_SET, read_annotations, record_ids
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.bootstrap import bootstrap_samples, percentile_intervals
from cmelt_plugin.evaluation.metrics.multi_label import classification_metrics, decide
from cmelt_plugin.evaluation.result_files import Result, StoredResult

RESAMPLES = 1000


class Reader(NamedTuple):
    """A column of the comparison: file name without ``.csv``, name for tables, and what must be said of it."""

    file: str
    name: str
    remark: str = ""


_MADE_GOLD = "the gold standard was made from the decisions of both cardiologists, so this row is no independent reading"
_HALVES = "two readers, each half of the tracings"
READERS = (
    Reader("cardiology_residents", "cardiology residents", _HALVES),
    Reader("emergency_residents", "emergency residents", _HALVES),
    Reader("medical_students", "medical students", _HALVES),
    Reader("dnn", "DNN (Ribeiro et al. 2020)", "thresholds of largest F1; on which data they were chosen is not documented"),
    Reader("cardiologist1", "cardiologist 1", _MADE_GOLD),
    Reader("cardiologist2", "cardiologist 2", _MADE_GOLD),
)
YES_NO = "yes/no decisions"
FROM_SCORES = "from scores"
AT_THRESHOLDS = "decisions at thresholds chosen on validation data"


@dataclass
class Row:
    """A reader or model against the gold standard.

    Attributes:
        name: who.
        kind: :data:`YES_NO`, :data:`FROM_SCORES` or :data:`AT_THRESHOLDS`.
        record_id: the N tracings.
        labels: float ``[N, 6]`` gold standard.
        scores: float ``[N, 6]``: 0/1 decisions, or scores.
        remarks: sentences about the row.
        missing: why there are no metrics; "" = there are.
        source: the result the row comes from, for models.
    """

    name: str
    kind: str
    record_id: Sequence[str]
    labels: np.ndarray
    scores: np.ndarray
    remarks: list[str] = field(default_factory=list)
    missing: str = ""
    source: StoredResult | None = None

    @property
    def comparable(self) -> bool:
        """Whether the row is one of yes/no decisions, as those of people are."""
        return self.kind != FROM_SCORES


def reader_rows(folder: Path) -> list[Row]:
    """One row per reader of CODE-test.

    Raises:
        DataError: a table is missing, malformed, or of another length than the gold standard.
    """
    gold = read_annotations(folder / f"{GOLD}.csv").astype(np.float64)
    rows = []
    for reader in READERS:
        path = folder / f"{reader.file}.csv"
        decisions = read_annotations(path)
        if len(decisions) != len(gold):
            raise DataError(f"{path}: {len(decisions)} rows, {GOLD}.csv has {len(gold)}")
        remarks = [reader.remark] if reader.remark else []
        rows.append(Row(reader.name, YES_NO, record_ids(len(gold)), gold, decisions.astype(np.float64), remarks))
    return rows


def model_rows(stored: StoredResult, gold: np.ndarray) -> list[Row]:
    """Both rows of a result that was evaluated on the CODE-test manifest.

    Args:
        stored: a result with scores; record ids as ``preprocess/code_test.py`` gives them.
        gold: ``[N, 6]`` gold standard.

    Raises:
        DataError: the result keeps no scores, lacks a class, holds foreign records, or its labels are others.
    """
    result, scores = stored.result, stored.scores()
    if scores is None:
        raise DataError(f"{stored.folder}: holds no scores; run the evaluation again with --results")
    missing = [name for name in CLASSES if name not in scores.names]
    if missing:
        raise DataError(f"{stored.folder}: no scores for {', '.join(missing)}; expected a result on CODE-test")
    columns = [list(scores.names).index(name) for name in CLASSES]
    row_of = {name: row for row, name in enumerate(record_ids(len(gold)))}
    strange = [record for record in scores.record_id if record not in row_of]
    if strange or len(set(scores.record_id)) < len(scores.record_id):
        example = f"record {strange[0]}" if strange else "a record twice"
        raise DataError(f"{stored.folder}: holds {example}; expected records of preprocess/code_test.py, code-0000 and so on")
    labels = gold[[row_of[record] for record in scores.record_id]].astype(np.float64)
    if not np.array_equal(labels, scores.labels[:, columns]):
        raise DataError(f"{stored.folder}: its labels differ from {GOLD}.csv; pack CODE-test again from the same folder")
    values = scores.scores[:, columns].astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{stored.folder}: scores hold NaN or infinity; run the evaluation again")
    name = result.model or str(stored.folder)
    remarks = list(result.notes)
    if len(labels) < len(gold):
        remarks.append(f"{len(labels)} of {len(gold)} tracings: not the readers' set")
    rows = [Row(name, FROM_SCORES, list(scores.record_id), labels, values, list(remarks), source=stored)]
    thresholds = np.array([result.per_class.get(key, {}).get("threshold", np.nan) for key in CLASSES], dtype=np.float64)
    without = [key for key, threshold in zip(CLASSES, thresholds) if np.isnan(threshold)]
    decided = Row(name, AT_THRESHOLDS, list(scores.record_id), labels, values, remarks, source=stored)
    if without:
        decided.missing = (
            f"no threshold for {', '.join(without)}: choose them on validation data (CODE-test has none of its own) "
            "and evaluate with them"
        )
    else:
        decided.scores = decide(values, thresholds).astype(np.float64)
    return [*rows, decided]


def evaluate(row: Row, seed: int = 0, resamples: int = RESAMPLES) -> Result:
    """Metrics of a row with 95 % intervals over patients.

    ``per_class`` has positives, negatives and auc, for decisions also sensitivity, specificity and f1; ``metrics`` has
    macro_auc and, for decisions, macro_f1, macro_sensitivity and macro_specificity.
    """
    thresholds = np.full(len(CLASSES), 0.5) if row.comparable else None
    every = classification_metrics(row.labels, row.scores, CLASSES, thresholds)
    result = Result(
        kind="code_test",
        model=row.name,
        checkpoint=row.source.result.checkpoint if row.source else "",
        data_set=DATA_SET,
        label_set=LABEL_SET,
        split="test",
        n_records=len(row.labels),
        n_subjects=len(row.labels),
        settings={**(row.source.result.settings if row.source else {}), "decisions": row.kind},
        metrics={"macro_auc": every.macro_auc},
        excluded=list(every.excluded),
        notes=list(row.remarks),
    )
    for column, name in enumerate(CLASSES):
        metrics = every.per_class[name]
        result.per_class[name] = {"positives": metrics.positives, "negatives": metrics.negatives, "auc": metrics.auc}
        if row.comparable:
            positive, called = row.labels[:, column] > 0.5, row.scores[:, column] > 0.5
            result.per_class[name].update(
                sensitivity=_share(called[positive]), specificity=_share(~called[~positive]), f1=metrics.f1
            )
    if row.comparable:
        for name in ("f1", "sensitivity", "specificity"):
            values = [metrics[name] for metrics in result.per_class.values()]
            result.metrics[f"macro_{name}"] = float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
    samples = bootstrap_samples(row.labels, row.scores, CLASSES, row.record_id, resamples, seed, thresholds)
    result.intervals = percentile_intervals(samples)
    return result


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if len(which) else float("nan")
