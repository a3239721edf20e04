"""Figures of a classifier as text for people."""

from __future__ import annotations

from cmelt_plugin.evaluation.metrics.classifier import CHOSEN_HERE, Judgement

TITLES = {
    "macro_auc": "macro AUROC",
    "macro_auprc": "macro AUPRC",
    "macro_auc_10": "macro AUROC, classes with 10 positives or more",
    "macro_f1": "macro F1",
    "accuracy": "accuracy",
    "exact_match": "records with every decision right",
    "cinc_score": "CinC 2021 score",
}


def classifier_table(judgement: Judgement, title: str) -> str:
    """Means with their intervals, then a line per class, then what is missing and why."""
    lines = [f"{title}: {judgement.n_records} records, {judgement.n_subjects} subjects"]
    for name, value in judgement.metrics.items():
        plain = name[: -len(CHOSEN_HERE)] if name.endswith(CHOSEN_HERE) else name
        remark = " (thresholds chosen on these records)" if plain != name else ""
        interval = judgement.intervals.get(name)
        spread = f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
        lines.append(f"  {TITLES[plain]}: {value:.4f}{spread}{remark}")
    figures = judgement.figures
    width = max(5, *(len(name) for name in judgement.names))
    with_intervals = any(name.startswith("auc/") for name in judgement.intervals)
    head = f"  {'class':<{width}} {'positive':>8} {'negative':>8} {'AUROC':>7}"
    head += f" {'95 % interval':>17}" if with_intervals else ""
    lines.append(f"{head} {'AUPRC':>7} {'F1':>7} {'threshold':>9}")
    for name, one in figures.per_class.items():
        line = f"  {name:<{width}} {one.positives:>8} {one.negatives:>8} {_number(one.auc):>7}"
        if with_intervals:
            pair = judgement.intervals.get(f"auc/{name}")
            line += f" {f'{pair[0]:.4f} – {pair[1]:.4f}' if pair else '–':>17}"
        lines.append(f"{line} {_number(one.auprc):>7} {_number(one.f1):>7} {_number(one.threshold):>9}")
    if figures.excluded:
        lines.append(f"  no AUROC (no positives or no negatives), left out of the means: {', '.join(figures.excluded)}")
    if judgement.undecided:
        lines.append(f"  no threshold (no positives in the validation data): {', '.join(judgement.undecided)}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"
