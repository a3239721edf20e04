"""Figures of linear probes that differ in their seed alone: means, spread over seeds, intervals over subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.labelled_split import LabelledSplit
from cmelt_plugin.evaluation.metrics.bootstrap import bootstrap_samples, percentile_interval
from cmelt_plugin.evaluation.metrics.multi_label import ClassificationFigures, figures_of
from cmelt_plugin.evaluation.result_files import Result, Scores
from cmelt_plugin.evaluation.shift import shift_labels, shift_scores

METRICS = ("macro_auc", "macro_auc_10", "macro_auprc", "macro_f1", "accuracy", "exact_match")


@dataclass(frozen=True)
class Judged:
    """What S probes said about N records of C classes.

    Attributes:
        names: the classes.
        labels: ``[N, C]`` 1/0, NaN = unknown.
        scores: per probe ``[N, C]``, logits.
        thresholds: per probe ``[C]``, from validation data; empty: none.
    """

    names: Sequence[str]
    labels: np.ndarray
    scores: Sequence[np.ndarray]
    thresholds: Sequence[np.ndarray] = ()

    def threshold(self, index: int) -> np.ndarray | None:
        return self.thresholds[index] if self.thresholds else None


@dataclass(frozen=True)
class ReportOptions:
    """What the results of one command share.

    Attributes:
        model: name in tables.
        checkpoint, command: as typed.
        bootstrap: resamples; 0: no intervals.
        seed: of the resamples.
        settings: see ``Result.settings``.
    """

    model: str
    checkpoint: str
    command: str
    bootstrap: int = 1000
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


def probe_result(
    kind: str, judged: Judged, test: LabelledSplit, options: ReportOptions, settings: dict[str, Any], notes: Sequence[str]
) -> tuple[Result, Scores]:
    """The result of S probes on a split, and the scores of the first of them.

    ``metrics`` and ``per_class`` are means over the probes, ``spread`` their standard deviation (n − 1). ``intervals`` are
    those of the mean: the same resampled subjects for all probes, whose figures are averaged resample by resample. The
    ``threshold`` of a class is the first probe's, as are the scores.
    """
    figures = [figures_of(judged.labels, s, judged.names, judged.threshold(i)) for i, s in enumerate(judged.scores)]
    metrics = {name: [getattr(one, name) for one in figures] for name in METRICS}
    metrics = {name: values for name, values in metrics.items() if values[0] is not None}
    first = figures[0]
    all_notes = [*notes, *test.label_notes]
    if len(figures) > 1:
        all_notes.append(f"Means over {len(figures)} seeds; kept scores, thresholds and curves are the first seed's.")
    if judged.thresholds and first.undecided:
        all_notes.append(f"No threshold, for want of positive validation records: {', '.join(first.undecided)}.")
    result = Result(
        kind=kind,
        model=options.model,
        checkpoint=options.checkpoint,
        data_set=test.data_set,
        label_set=test.label_set,
        split=test.manifest.split,
        n_records=len(judged.labels),
        n_subjects=test.n_subjects,
        settings={**options.settings, **settings, "seeds": len(figures), "bootstrap": options.bootstrap},
        metrics={name: float(np.mean(values)) for name, values in metrics.items()},
        intervals=_intervals(judged, test.subject_id, options) if options.bootstrap else {},
        spread={name: float(np.std(values, ddof=1)) for name, values in metrics.items()} if len(figures) > 1 else {},
        per_class={name: _class_means(name, figures) for name in judged.names},
        excluded=first.excluded,
        notes=all_notes,
        command=options.command,
    )
    return result, Scores(test.record_id, test.subject_id, list(judged.names), judged.labels, judged.scores[0])


def on_target(scores: Sequence[np.ndarray], names: Sequence[str], source: str, target: LabelledSplit) -> Judged:
    """What probes trained on the label set ``source`` say about another set, under the union rule.

    Args:
        scores: per probe ``[N, C]`` for the target's records.
        names: the C classes of the probes.
        source: their label set.
        target: records and labels.

    Raises:
        DataError: the two label sets are not connected, or a mapped class is missing.
    """
    labels, matched = shift_labels(source, target.label_set, target.labels, target.names)
    mapped = [shift_scores(source, target.label_set, one, names)[0] for one in scores]
    return Judged(matched, labels, mapped)


def _intervals(judged: Judged, subjects: Sequence[str], options: ReportOptions) -> dict[str, tuple[float, float]]:
    totals: dict[str, np.ndarray] = {}
    for index, scores in enumerate(judged.scores):
        samples = bootstrap_samples(
            judged.labels, scores, judged.names, subjects, options.bootstrap, options.seed, judged.threshold(index)
        )
        totals = {name: totals.get(name, 0) + values for name, values in samples.items()}
    intervals = {name: percentile_interval(total / len(judged.scores)) for name, total in totals.items()}
    return {name: interval for name, interval in intervals.items() if interval is not None}


def _class_means(name: str, figures: Sequence[ClassificationFigures]) -> dict[str, float]:
    classes = [one.per_class[name] for one in figures]
    means = {key: float(np.mean([getattr(one, key) for one in classes])) for key in ("auc", "auprc", "f1")}
    return {**classes[0]._asdict(), **means}
