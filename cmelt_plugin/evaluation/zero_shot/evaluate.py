"""One label set, evaluated zero-shot: scores, thresholds from validation data, figures, result folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.files import atomic_path, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.precision import FLOAT32
from cmelt_plugin.evaluation.labelled_split import LabelledSplit
from cmelt_plugin.evaluation.metrics.bootstrap import bootstrap_intervals
from cmelt_plugin.evaluation.metrics.multi_label import figures_of
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.result_files import Result, Scores, write_result
from cmelt_plugin.evaluation.shift import PAIRS, matched_targets
from cmelt_plugin.evaluation.zero_shot.class_texts import ClassTexts
from cmelt_plugin.evaluation.zero_shot.same_classes import same_classes

TEXTS_FILE = "class_texts.json"
EMBEDDINGS_FILE = "embeddings.npz"


class Run(NamedTuple):
    """What all label sets of one command share.

    Attributes:
        model: name for tables.
        checkpoint: path.
        command: what was typed.
        bootstrap: resamples; 0: no intervals.
        seed: of the resamples.
        precision: of the ECG encoder, ``float32`` or ``bf16``.
    """

    model: str
    checkpoint: str
    command: str
    bootstrap: int = 1000
    seed: int = 0
    precision: str = FLOAT32


class Thresholds(NamedTuple):
    """Thresholds on similarities.

    Attributes:
        values: float64 ``[C]``, NaN = none for that class.
        source: the validation data they come from, for readers.
    """

    values: np.ndarray
    source: str


class Evaluation(NamedTuple):
    """A result and what it was computed from."""

    result: Result
    scores: Scores


def validation_thresholds(
    test: LabelledSplit, valid: LabelledSplit, valid_ecg: np.ndarray, classes: np.ndarray
) -> tuple[Thresholds, dict[str, str]]:
    """Thresholds of largest F1 on validation data, for the very class texts the test set is scored with.

    Args:
        test: the set whose classes need thresholds.
        valid: validation data of the same label set, or of another one with classes of the same meaning.
        valid_ecg: ``[M, D]`` embeddings of ``valid``.
        classes: ``[C, D]`` embeddings of the test set's classes.

    Returns:
        The thresholds, and test class → class of ``valid`` it was judged by.
    """
    pairs = same_classes(test.names, test.label_set, valid.names, valid.label_set)
    values = np.full(len(test.names), np.nan)
    if pairs:
        rows = [test.names.index(name) for name in pairs]
        columns = [valid.names.index(name) for name in pairs.values()]
        values[rows] = choose_thresholds(valid.labels[:, columns], valid_ecg @ classes[rows].T)
    where = f"{valid.label_set or valid.data_set}, split {valid.manifest.split}, {len(valid.labels)} records"
    return Thresholds(values, where), pairs


def evaluate(
    test: LabelledSplit,
    ecg: np.ndarray,
    classes: np.ndarray,
    texts: ClassTexts,
    run: Run,
    thresholds: Thresholds | None = None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Score every record against every class and compute all figures.

    Args:
        test: records and labels.
        ecg: ``[N, D]`` embeddings of the records.
        classes: ``[C, D]`` embeddings of the classes.
        texts: what the classes were embedded from.
        run: settings all sets share.
        thresholds: chosen on validation data; None: no figure that needs decisions.
        notes: sentences for the result.
    """
    settings = {"prompt_kind": texts.kind, "prompts": texts.source, "training_ratio": 0.0}
    scores = ecg @ classes.T
    return _evaluate(test, test.names, test.labels, scores, "zero_shot", settings, run, thresholds, notes)


def evaluate_shift(plain: Evaluation, test: LabelledSplit, source: str, run: Run) -> Evaluation:
    """The same scores on the classes of the target that ``source`` has a match for (paper Tables 4 and 11).

    Raises:
        DataError: the target lacks a class of the mapping.
    """
    matched = matched_targets(source, test.label_set)
    missing = [name for name in matched if name not in test.names]
    if missing:
        raise DataError(f"{test.manifest.directory}: its labels lack {', '.join(missing)}, which Table 11 maps")
    chosen = [column for column, name in enumerate(test.names) if name in matched]
    settings = {
        **plain.result.settings,
        "source": source,
        "target": test.label_set,
        "rule": "matched target classes",
        "zero_shot": True,
    }
    note = (
        f"{len(chosen)} of the target's {len(test.names)} classes have a match in {source}; zero-shot uses nothing else of it"
    )
    names = [test.names[column] for column in chosen]
    labels, scores = test.labels[:, chosen], plain.scores.scores[:, chosen]
    return _evaluate(test, names, labels, scores, "shift", settings, run, None, [note])


def shift_sources(label_set: str) -> list[str]:
    """Label sets that Table 4 pairs with ``label_set`` as the target, in its order."""
    return [source for source, target in PAIRS if target == label_set]


def write_evaluation(folder: Path, found: Evaluation, texts: ClassTexts | None = None, ecg: np.ndarray | None = None) -> None:
    """Write a result folder; ``texts`` and, for t-SNE, the embeddings ``[N, D]`` beside it."""
    (folder / EMBEDDINGS_FILE).unlink(missing_ok=True)
    if texts is not None:
        write_json(folder / TEXTS_FILE, {"source": texts.source, "kind": texts.kind, "classes": texts.texts})
    if ecg is not None:
        with atomic_path(folder / EMBEDDINGS_FILE) as temporary:
            np.savez(
                temporary,
                ecg=np.asarray(ecg, dtype=np.float32),
                record_id=np.asarray(found.scores.record_id, dtype=np.str_),
                labels=np.asarray(found.scores.labels, dtype=np.float32),
                names=np.asarray(found.scores.names, dtype=np.str_),
            )
    write_result(folder, found.result, found.scores)


def _evaluate(
    test: LabelledSplit,
    names: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    kind: str,
    settings: dict[str, Any],
    run: Run,
    thresholds: Thresholds | None,
    notes: Sequence[str],
) -> Evaluation:
    values = None if thresholds is None else thresholds.values
    figures = figures_of(labels, scores, names, values)
    metrics = {
        "macro_auc": figures.macro_auc,
        "macro_auc_10": figures.macro_auc_10,
        "macro_auprc": figures.macro_auprc,
        "macro_f1": figures.macro_f1,
        "accuracy": figures.accuracy,
        "exact_match": figures.exact_match,
    }
    intervals: dict[str, tuple[float, float]] = {}
    if run.bootstrap:
        intervals = bootstrap_intervals(labels, scores, names, test.subject_id, run.bootstrap, run.seed, values)
    all_notes = [*notes, *test.label_notes]
    if thresholds is not None:
        settings = {**settings, "thresholds": thresholds.source}
        all_notes.append(f"Thresholds of F1 and accuracy were chosen on {thresholds.source}.")
        if figures.undecided:
            all_notes.append(f"No threshold, for want of positive validation records: {', '.join(figures.undecided)}.")
    result = Result(
        kind=kind,
        model=run.model,
        checkpoint=run.checkpoint,
        data_set=test.data_set,
        label_set=test.label_set,
        split=test.manifest.split,
        n_records=len(labels),
        n_subjects=test.n_subjects,
        settings={
            **settings,
            "manifest": str(test.manifest.directory),
            "precision": run.precision,
            "bootstrap": run.bootstrap,
            "seed": run.seed,
        },
        metrics={name: value for name, value in metrics.items() if value is not None},
        intervals=intervals,
        per_class={name: {k: v for k, v in entry._asdict().items()} for name, entry in figures.per_class.items()},
        excluded=figures.excluded,
        notes=all_notes,
        command=run.command,
    )
    return Evaluation(result, Scores(test.record_id, test.subject_id, list(names), labels, scores))
