"""Metrics of a classifier as text."""

from __future__ import annotations

from cmelt_plugin.evaluation.metrics.classifier import CHOSEN_HERE, ClassifierEvaluation

TITLES = {
    "macro_auc": "macro AUROC",
    "macro_auprc": "macro AUPRC",
    "macro_auc_10": "macro AUROC, classes with 10 positives or more",
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "exact_match": "records with every decision right",
    "cinc_score": "CinC 2021 score",
}


def classifier_table(evaluation: ClassifierEvaluation, title: str) -> str:
    """Means with their intervals, then a line per class, then what is missing and why."""
    lines = [f"{title}: {evaluation.n_records} records, {evaluation.n_subjects} subjects"]
    for name, value in evaluation.metrics.items():
        plain = name[: -len(CHOSEN_HERE)] if name.endswith(CHOSEN_HERE) else name
        remark = " (thresholds chosen on these records)" if plain != name else ""
        interval = evaluation.intervals.get(name)
        spread = f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
        lines.append(f"  {TITLES[plain]}: {value:.4f}{spread}{remark}")
    width = max(5, *(len(name) for name in evaluation.names))
    with_intervals = any(name.startswith("auc/") for name in evaluation.intervals)
    head = f"  {'class':<{width}} {'positive':>8} {'negative':>8} {'AUROC':>7}"
    head += f" {'95 % interval':>17}" if with_intervals else ""
    lines.append(f"{head} {'AUPRC':>7} {'F1':>7} {'threshold':>9}")
    for name, metrics in evaluation.per_class.items():
        line = f"  {name:<{width}} {metrics.positives:>8} {metrics.negatives:>8} {_number(metrics.auc):>7}"
        if with_intervals:
            pair = evaluation.intervals.get(f"auc/{name}")
            line += f" {f'{pair[0]:.4f} – {pair[1]:.4f}' if pair else '–':>17}"
        lines.append(f"{line} {_number(metrics.auprc):>7} {_number(metrics.f1):>7} {_number(metrics.threshold):>9}")
    if evaluation.excluded:
        lines.append(f"  no AUROC (no positives or no negatives), left out of the means: {', '.join(evaluation.excluded)}")
    if evaluation.undecided:
        lines.append(f"  no threshold (no positives in the validation data): {', '.join(evaluation.undecided)}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"
