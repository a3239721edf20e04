"""One label set, evaluated zero-shot: thresholds from validation data, metrics, result folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.files import atomic_path, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, result_on
from cmelt_plugin.evaluation.metrics.bootstrap import (
    bootstrap_samples,
    metrics_of_sums,
    percentile_intervals,
    subject_groups,
)
from cmelt_plugin.evaluation.metrics.multi_label import (
    balanced_accuracy_of_sums,
    class_counts,
    classification_metrics,
    decide,
)
from cmelt_plugin.evaluation.metrics.thresholds import BALANCED_ACCURACY, F1, choose_thresholds
from cmelt_plugin.evaluation.options import CommandFacts
from cmelt_plugin.evaluation.result_files import EMBEDDINGS_FILE, Result, Scores, write_result
from cmelt_plugin.evaluation.shift import PAIRS, matched_targets
from cmelt_plugin.evaluation.zero_shot.class_texts import ClassTexts
from cmelt_plugin.evaluation.zero_shot.same_classes import same_classes

TEXTS_FILE = "class_texts.json"


class Thresholds(NamedTuple):
    """Thresholds on similarities.

    Attributes:
        values: float64 ``[C]``, NaN = none for that class.
        source: the validation data they come from, for readers.
        rule: what they are best by there.
    """

    values: np.ndarray
    source: str
    rule: str = F1


class Evaluation(NamedTuple):
    """A result and what it was computed from."""

    result: Result
    scores: Scores


def validation_thresholds(
    test: LabelledSplit, valid: LabelledSplit, valid_scores: np.ndarray, rule: str = F1
) -> tuple[Thresholds, dict[str, str]]:
    """Thresholds from validation data, for the very class texts the test set is scored with.

    Args:
        test: the set whose classes need thresholds.
        valid: validation data of the same label set, or of another one with classes of the same meaning.
        valid_scores: ``[M, C]``, similarity of each record of ``valid`` to each class of ``test``.
        rule: of :func:`cmelt_plugin.evaluation.metrics.thresholds.choose_thresholds`.

    Returns:
        The thresholds, and test class → class of ``valid`` its threshold was chosen for.
    """
    pairs = same_classes(test.names, test.label_set, valid.names, valid.label_set)
    values = np.full(len(test.names), np.nan)
    if pairs:
        rows = [test.names.index(name) for name in pairs]
        columns = [valid.names.index(name) for name in pairs.values()]
        values[rows] = choose_thresholds(valid.labels[:, columns], valid_scores[:, rows], rule)
    where = f"{valid.label_set or valid.data_set}, split {valid.manifest.split}, {len(valid.labels)} records"
    return Thresholds(values, where, rule), pairs


def evaluate(
    test: LabelledSplit,
    scores: np.ndarray,
    texts: ClassTexts,
    facts: CommandFacts,
    thresholds: Thresholds | None = None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """All metrics of a set.

    Args:
        test: records and labels.
        scores: float32 ``[N, C]``, similarity of each record to each class.
        texts: what the classes were embedded from.
        facts: what all sets of the command share.
        thresholds: chosen on validation data; None: no metric that needs decisions.
        notes: sentences for the result.
    """
    settings: dict[str, Any] = {"prompt_kind": texts.kind, "prompts": texts.source, "training_ratio": 0.0}
    if texts.absent:
        settings["classes_with_texts_of_absence"] = len(texts.absent)
        notes = [*notes, "Scores of classes with texts on their absence: similarity to their own texts less that to these."]
    return _evaluate(test, test.names, test.labels, scores, "zero_shot", settings, facts, thresholds, notes)


def evaluate_shift(plain: Evaluation, test: LabelledSplit, source: str, facts: CommandFacts) -> Evaluation:
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
    return _evaluate(test, names, labels, scores, "shift", settings, facts, None, [note])


def _balanced(sums: np.ndarray) -> dict[str, float]:
    return {BALANCED_ACCURACY: balanced_accuracy_of_sums(sums)}


def shift_sources(label_set: str) -> list[str]:
    """Label sets that Table 4 pairs with ``label_set`` as the target, in its order."""
    return [source for source, target in PAIRS if target == label_set]


def write_evaluation(
    folder: Path, evaluation: Evaluation, texts: ClassTexts | None = None, ecg: np.ndarray | None = None
) -> None:
    """Write a result folder; also ``texts`` and, for t-SNE, the embeddings ``[N, D]``."""
    (folder / EMBEDDINGS_FILE).unlink(missing_ok=True)
    if texts is not None:
        absent = {"absent": texts.absent} if texts.absent else {}
        write_json(folder / TEXTS_FILE, {"source": texts.source, "kind": texts.kind, "classes": texts.texts, **absent})
    if ecg is not None:
        with atomic_path(folder / EMBEDDINGS_FILE) as temporary:
            np.savez(
                temporary,
                ecg=np.asarray(ecg, dtype=np.float32),
                record_id=np.asarray(evaluation.scores.record_id, dtype=np.str_),
                labels=np.asarray(evaluation.scores.labels, dtype=np.float32),
                names=np.asarray(evaluation.scores.names, dtype=np.str_),
            )
    write_result(folder, evaluation.result, evaluation.scores)


def _evaluate(
    test: LabelledSplit,
    names: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    kind: str,
    settings: dict[str, Any],
    facts: CommandFacts,
    thresholds: Thresholds | None,
    notes: Sequence[str],
) -> Evaluation:
    values = None if thresholds is None else thresholds.values
    every = classification_metrics(labels, scores, names, values)
    metrics = {
        "macro_auc": every.macro_auc,
        "macro_auc_10": every.macro_auc_10,
        "macro_auprc": every.macro_auprc,
        "macro_f1": every.macro_f1,
        "accuracy": every.accuracy,
        "exact_match": every.exact_match,
    }
    intervals: dict[str, tuple[float, float]] = {}
    if facts.bootstrap:
        samples = bootstrap_samples(labels, scores, names, test.subject_id, facts.bootstrap, facts.seed, values)
        intervals = percentile_intervals(samples)
    all_notes = [*notes, *test.label_notes]
    if thresholds is not None:
        settings = {**settings, "thresholds": thresholds.source}
        all_notes.append(f"Thresholds of F1 and accuracy were chosen on {thresholds.source}.")
        if thresholds.rule == BALANCED_ACCURACY:
            settings["threshold_rule"] = BALANCED_ACCURACY
            all_notes[-1] = f"Thresholds are those of largest balanced accuracy on {thresholds.source}."
            decided = np.flatnonzero(~np.isnan(thresholds.values))
            counts = class_counts(labels[:, decided], decide(scores, thresholds.values)[:, decided])
            balanced, pairs = metrics_of_sums(
                counts, subject_groups(len(labels), test.subject_id), _balanced, facts.bootstrap, facts.seed
            )
            metrics, intervals = {**metrics, **balanced}, {**intervals, **pairs}
        if every.undecided:
            all_notes.append(f"No threshold, for want of positive validation records: {', '.join(every.undecided)}.")
    result = result_on(
        test,
        kind,
        facts,
        settings={
            **settings,
            "manifest": str(test.manifest.directory),
            **facts.settings,
            "bootstrap": facts.bootstrap,
            "seed": facts.seed,
        },
        metrics={name: value for name, value in metrics.items() if value is not None},
        intervals=intervals,
        per_class={name: {k: v for k, v in entry._asdict().items()} for name, entry in every.per_class.items()},
        excluded=every.excluded,
        notes=all_notes,
    )
    return Evaluation(result, Scores(test.record_id, test.subject_id, list(names), labels, scores))
