"""Metrics of linear probes that differ in their seed alone: means, spread over seeds, intervals over subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.labelled_split import LabelledSplit, result_on
from cmelt_plugin.evaluation.metrics.bootstrap import bootstrap_samples, percentile_intervals
from cmelt_plugin.evaluation.metrics.multi_label import ClassificationMetrics, classification_metrics
from cmelt_plugin.evaluation.options import CommandFacts
from cmelt_plugin.evaluation.result_files import Result, Scores
from cmelt_plugin.evaluation.shift import shift_labels, shift_scores

METRICS = ("macro_auc", "macro_auc_10", "macro_auprc", "macro_f1", "accuracy", "exact_match")


@dataclass(frozen=True)
class ProbeScores:
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


def probe_result(
    kind: str, probed: ProbeScores, test: LabelledSplit, facts: CommandFacts, settings: dict[str, Any], notes: Sequence[str]
) -> tuple[Result, Scores]:
    """The result of S probes on a split, and the scores of the first of them.

    ``metrics`` and ``per_class`` are means over the probes, ``spread`` their standard deviation (n − 1). ``intervals`` are
    those of the mean: the same resampled subjects for all probes, whose metrics are averaged resample by resample. The
    ``threshold`` of a class is the first probe's, as are the scores.
    """
    every = [classification_metrics(probed.labels, s, probed.names, probed.threshold(i)) for i, s in enumerate(probed.scores)]
    metrics = {name: [getattr(one, name) for one in every] for name in METRICS}
    metrics = {name: values for name, values in metrics.items() if values[0] is not None}
    first = every[0]
    all_notes = [*notes, *test.label_notes]
    if len(every) > 1:
        all_notes.append(f"Means over {len(every)} seeds; kept scores, thresholds and curves are the first seed's.")
    if probed.thresholds and first.undecided:
        all_notes.append(f"No threshold, for want of positive validation records: {', '.join(first.undecided)}.")
    result = result_on(
        test,
        kind,
        facts,
        settings={**facts.settings, **settings, "seeds": len(every), "bootstrap": facts.bootstrap},
        metrics={name: float(np.mean(values)) for name, values in metrics.items()},
        intervals=_intervals(probed, test.subject_id, facts) if facts.bootstrap else {},
        spread={name: float(np.std(values, ddof=1)) for name, values in metrics.items()} if len(every) > 1 else {},
        per_class={name: _class_means(name, every) for name in probed.names},
        excluded=first.excluded,
        notes=all_notes,
    )
    return result, Scores(test.record_id, test.subject_id, list(probed.names), probed.labels, probed.scores[0])


def scores_on_target(scores: Sequence[np.ndarray], names: Sequence[str], source: str, target: LabelledSplit) -> ProbeScores:
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
    return ProbeScores(matched, labels, mapped)


def _intervals(probed: ProbeScores, subjects: Sequence[str], facts: CommandFacts) -> dict[str, tuple[float, float]]:
    totals: dict[str, np.ndarray] = {}
    for index, scores in enumerate(probed.scores):
        samples = bootstrap_samples(
            probed.labels, scores, probed.names, subjects, facts.bootstrap, facts.seed, probed.threshold(index)
        )
        totals = {name: totals.get(name, 0) + values for name, values in samples.items()}
    return percentile_intervals({name: total / len(probed.scores) for name, total in totals.items()})


def _class_means(name: str, every: Sequence[ClassificationMetrics]) -> dict[str, float]:
    classes = [one.per_class[name] for one in every]
    means = {key: float(np.mean([getattr(one, key) for one in classes])) for key in ("auc", "auprc", "f1")}
    return {**classes[0]._asdict(), **means}
