"""CODE-test: people, the supervised network and a zero-shot model against the gold standard (paper Table 5).

The folder ``annotations/`` of CODE-test holds one table of yes/no decisions per reader: 827 tracings of 827 patients, six
classes (Ribeiro et al. 2020). Of yes/no decisions the area under the ROC curve is the mean of sensitivity and specificity,
and macro AUC is its mean over the classes; this is how the paper's Table 5 was made. A model that scores has two rows: its
scores, which no reader's row can be compared with, and its decisions at thresholds from validation data, which all can.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin import option_types
from cmelt_plugin.data.code_test_annotations import CLASSES, DATA_SET, GOLD, LABEL_SET, read_annotations, record_ids
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.bootstrap import bootstrap_intervals
from cmelt_plugin.evaluation.metrics.multi_label import classification_metrics, decide
from cmelt_plugin.evaluation.options import typed_command
from cmelt_plugin.evaluation.result_files import Result, Scores, StoredResult, read_results, write_result

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

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.human_readers --annotations data/code-test/annotations \\
      --result results/zero-shot/code-test --results results/readers
"""


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
    result.intervals = bootstrap_intervals(row.labels, row.scores, CLASSES, row.record_id, resamples, seed, thresholds)
    return result


def table_of(rows: Sequence[Row], results: Sequence[Result | None]) -> str:
    """The comparison as text, metrics × 100."""
    width = max(len(row.name) for row in rows) + 2
    lines = [f"{'':{width}}macro AUC (95 % interval)   " + "".join(f"{'AUC ' + name:>11}" for name in CLASSES) + "  what it is"]
    for row, result in zip(rows, results):
        if result is None:
            lines.append(f"{row.name:{width}}{'–':28}" + f"{'–':>11}" * len(CLASSES) + f"  {row.kind}")
            continue
        low, high = result.intervals.get("macro_auc", (np.nan, np.nan))
        macro = f"{_percent(result.metrics['macro_auc'])} ({_percent(low)} – {_percent(high)})"
        areas = "".join(f"{_percent(result.per_class[name]['auc']):>11}" for name in CLASSES)
        lines.append(f"{row.name:{width}}{macro:28}{areas}  {row.kind}")
    lines.append("")
    for row, result in zip(rows, results):
        if result is not None and row.comparable:
            lines.append(f"{row.name}, {row.kind}: sensitivity / specificity / F1")
            for name in CLASSES:
                metrics = result.per_class[name]
                values = " / ".join(_percent(metrics[key]) for key in ("sensitivity", "specificity", "f1"))
                lines.append(f"  {name:6} {values}")
    lines.append("")
    counts = next(result.per_class for result in results if result is not None)
    positives = ", ".join(f"{name} {counts[name]['positives']}" for name in CLASSES)
    lines.append(f"N = {len(rows[0].labels)} patients, one tracing each; positives: {positives}")
    comparable = [row.name for row in rows if row.comparable and not row.missing]
    excluded = sorted({name for result in results if result is not None for name in result.excluded}, key=CLASSES.index)
    if excluded:
        lines.append(f"left out of the means for want of positives or negatives: {', '.join(excluded)}")
    lines.append(f"comparable with each other (yes/no decisions): {'; '.join(comparable)}")
    scored = [row.name for row in rows if not row.comparable]
    if scored:
        lines.append(f"not comparable with those (scores rank patients, decisions do not): {'; '.join(scored)}")
    for row in rows:
        for remark in filter(None, [*row.remarks, row.missing]):
            lines.append(f"note: {row.name}, {row.kind}: {remark}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="folder annotations/ of CODE-test")
    parser.add_argument("--result", type=Path, nargs="+", default=[], help="result folders of models evaluated on CODE-test")
    parser.add_argument("--results", type=Path, help="folder to write one result per row to")
    parser.add_argument(
        "--resamples", type=option_types.count, default=RESAMPLES, help=f"of the intervals (default {RESAMPLES})"
    )
    parser.add_argument("--seed", type=option_types.seed, default=0, help="of the intervals (default 0)")
    args = parser.parse_args(argv)
    rows = reader_rows(args.annotations)
    for stored in _on_code_test(args.result):
        rows += model_rows(stored, rows[0].labels)
    results = [None if row.missing else evaluate(row, args.seed, args.resamples) for row in rows]
    print(table_of(rows, results))
    if args.results is not None:
        command = typed_command("cmelt_plugin.evaluation.human_readers", argv)
        for folder, row, result in zip(_folders(args.results, rows), rows, results):
            if result is not None:
                result.command = command
                write_result(folder, result, Scores(row.record_id, row.record_id, CLASSES, row.labels, row.scores))
        print(f"results written to {args.results}")
    return 0


def _on_code_test(folders: Sequence[Path]) -> list[StoredResult]:
    """Results of models on CODE-test below the folders; the others are named on stderr.

    Raises:
        DataError: folders are given and there is none.
    """
    chosen = []
    for stored in read_results(folders) if folders else []:
        if stored.result.label_set == LABEL_SET and stored.result.kind == "zero_shot":
            chosen.append(stored)
        else:
            what = f"{stored.result.kind}, {stored.result.label_set or 'no label set'}"
            print(f"left out: {stored.folder} ({what})", file=sys.stderr)
    if folders and not chosen:
        raise DataError(f"{', '.join(map(str, folders))}: no zero-shot result with label set {LABEL_SET!r}")
    return chosen


def _folders(root: Path, rows: Sequence[Row]) -> list[Path]:
    """One folder per row: the reader's file name, or number and kind of the model's row."""
    folders = [root / reader.file for reader in READERS]
    for number, row in enumerate(rows[len(READERS) :]):
        folders.append(root / f"model-{number // 2 + 1}-{'scores' if row.kind == FROM_SCORES else 'decisions'}")
    return folders


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if len(which) else float("nan")


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.2f}"


if __name__ == "__main__":
    sys.exit(run(main))
