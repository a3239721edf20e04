"""The sections of the evaluation report: from result folders, manifests and logs to blocks of a page."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.plots.classification import roc_figure
from cmelt_plugin.evaluation.plots.confusion import confusion_figure, label_confusion
from cmelt_plugin.evaluation.plots.curves import training_curve
from cmelt_plugin.evaluation.plots.intervals import FEW_POSITIVES, interval_figure
from cmelt_plugin.evaluation.plots.precision_recall import precision_recall_figure
from cmelt_plugin.evaluation.plots.tsne import MIN_RECORDS, project, tsne_figure
from cmelt_plugin.evaluation.plots.words import frequency_figure, word_counts
from cmelt_plugin.evaluation.report import page
from cmelt_plugin.evaluation.report.published_rows import DASH, Comparison, row_name
from cmelt_plugin.evaluation.report.training_log import INNER, LogLine, curve
from cmelt_plugin.evaluation.result_files import Result, Scores, StoredResult

EMBEDDINGS_FILE = "embeddings.npz"
MAX_CURVES = 8
MAX_COLUMNS = 8  # of a published table; of wider ones those with a result of ours are shown
WITH_CLASSES = ("finetune", "linear_probe", "zero_shot")
TOP = 30  # entries in word frequencies, paper Figure 5

KIND_NAMES = {
    "finetune": "full fine-tuning",
    "identification": "patient identification",
    "linear_probe": "linear probe",
    "zero_shot": "zero-shot",
    "shift": "distribution shift",
    "code_test": "CODE-test",
    "retrieval": "retrieval",
    "ablation": "ablation",
}
LEADING_METRICS = ("macro_auc", "cinc_score", "top1_accuracy", "score", "ecg_to_text_r10")
CURVE_TITLES = {
    "loss": ("Loss", "per record"),
    "macro_auc": ("Macro AUC", "area under the ROC curve"),
    "accuracy": ("Accuracy", "share of decisions"),
    "top1_accuracy": ("Identification", "top-1 accuracy"),
    "lr": ("Learning rate", "step size"),
}


def data_set_name(result: Result) -> str:
    return result.label_set or result.data_set


def settings_text(result: Result) -> str:
    """The settings that set results of one kind apart, in one line; defaults are left out."""
    settings = result.settings
    parts = []
    if "fraction" in settings:
        parts.append(f"{100 * float(settings['fraction']):g} % of the training records")
        if float(settings["fraction"]) < 1 and settings.get("subset"):
            parts.append(f"{settings['subset']} subset")
    if "seeds" in settings:
        parts.append(f"{settings['seeds']} seeds")
    leads = settings.get("leads")
    if leads:
        leads = [leads] if isinstance(leads, str) else leads
        parts.append(f"leads {', '.join(map(str, leads))}" if len(leads) < len(LEADS) else "12 leads")
    for name, default in (("pool", "cls"), ("prompt_kind", "description"), ("source", ""), ("variant", ""), ("task", "")):
        value = settings.get(name, default)
        if value != default and value is not None:
            parts.append(f"{name.replace('_', ' ')} {value}")
    return "; ".join(parts)


def leading_figure(result: Result) -> tuple[str, str]:
    """Name and text of the figure a result is known by, with interval or spread."""
    for name in LEADING_METRICS:
        if name in result.metrics:
            text = f"{result.metrics[name]:.4f}"
            if name in result.spread:
                text += f" ± {result.spread[name]:.4f}"
            if name in result.intervals:
                text += " [{:.4f}, {:.4f}]".format(*result.intervals[name])
            return name, text
    for name, value in result.metrics.items():
        return name, f"{value:.4f}"
    return "", DASH


def overview_section(results: Sequence[StoredResult]) -> page.Section:
    """One line per result."""
    rows = []
    for _, result in results:
        name, text = leading_figure(result)
        rows.append(
            [
                result.model,
                KIND_NAMES[result.kind],
                data_set_name(result),
                result.split,
                result.n_records,
                result.n_subjects,
                settings_text(result),
                name,
                text,
            ]
        )
    head = ["model", "what", "data", "split", "records", "subjects", "settings", "figure", "value"]
    return page.Section(
        "Results",
        [
            page.table(head, rows, numeric=[4, 5, 8]),
            page.paragraph(
                "In brackets: 95 % bootstrap interval over subjects. ±: standard deviation over seeds. Every figure rests on "
                "the number of records beside it."
            ),
        ],
    )


def table_section(comparison: Comparison, published_source: str) -> page.Section:
    """A published table with our rows below."""
    table = comparison.table
    shown = list(range(len(table.columns)))
    sizes = comparison.sizes()
    if comparison.has_own and len(shown) > MAX_COLUMNS:
        shown = [index for index in shown if sizes[index] != DASH]
    rows = [
        [("▸ " if row.own else "") + text[0], *(text[1 + index] for index in shown)]
        for row, text in zip(comparison.rows, comparison.texts())
    ]
    head = ["method", *(table.columns[index].label for index in shown)]
    blocks = [page.table(head, rows, numeric=list(range(1, len(head))))]
    if comparison.has_own:
        known = ", ".join(f"{column.label} {n}" for column, n in zip(table.columns, sizes) if n != DASH)
        text = f"▸ measured here; records evaluated: {known}. The other rows: {published_source}."
        if table.grid:
            text += " ± of ours: standard deviation over seeds; of the published rows: over tasks."
        if len(shown) < len(table.columns):
            text += f" {len(table.columns) - len(shown)} columns without a result of yours are left out; tables/ has them."
        blocks.append(page.paragraph(text))
    else:
        blocks.append(page.paragraph(f"No result of yours belongs here yet. The rows: {published_source}."))
    return page.Section(f"Table {table.number}: {table.title} ({table.unit})", blocks)


def classes_section(stored: StoredResult) -> page.Section | None:
    """Curves per class of one result; None where scores were not kept."""
    result, scores = stored.result, stored.scores()
    if scores is None or not result.per_class:
        return None
    areas = {name: entry["auc"] for name, entry in result.per_class.items() if np.isfinite(entry.get("auc", np.nan))}
    if not areas:
        return None
    positives = {name: int(entry.get("positives", 0)) for name, entry in result.per_class.items()}
    precision = {name: entry["auprc"] for name, entry in result.per_class.items() if name in areas and "auprc" in entry}
    intervals = {name: result.intervals[f"auc/{name}"] for name in areas if f"auc/{name}" in result.intervals}
    macro = result.metrics.get("macro_auc", float(np.mean(list(areas.values()))))
    best_first = sorted(areas, key=lambda name: -areas[name])
    text = f"{result.n_records} records of {result.n_subjects} subjects, split {result.split}."
    few = [name for name in best_first if positives[name] < FEW_POSITIVES]
    if few:
        text += f" Classes with fewer than {FEW_POSITIVES} positive records, whose areas say little: {', '.join(few)}."
    if result.excluded:
        text += f" Left out for want of positive or negative records: {', '.join(result.excluded)}."
    blocks = [page.paragraph(text), *(page.paragraph(note) for note in result.notes)]
    figures = [
        page.picture(interval_figure(areas, intervals, positives, macro, "AUC per class"), "area per class, 95 % interval")
    ]
    groups = np.array_split(np.array(best_first), max(-(-len(best_first) // MAX_CURVES), 1))
    for group in groups:
        chosen = {str(name): areas[str(name)] for name in group}
        title = "ROC" if len(groups) == 1 else f"ROC, {group[0]} to {group[-1]}"
        figures.append(page.picture(roc_figure(scores.labels, scores.scores, scores.names, chosen, title), title))
    for group in groups:
        chosen = {str(name): precision[str(name)] for name in group if str(name) in precision}
        if chosen:
            title = "Precision–recall" if len(groups) == 1 else f"Precision–recall, {group[0]} to {group[-1]}"
            curves = precision_recall_figure(scores.labels, scores.scores, scores.names, chosen, title)
            figures.append(page.picture(curves, title))
    blocks.append(page.side_by_side(figures))
    blocks += confusion_blocks(result, scores)
    return page.Section(_title(result), blocks)


def confusion_blocks(result: Result, scores: Scores) -> list[page.Html]:
    """Confusion of the label set at thresholds chosen on validation data; nothing without such thresholds."""
    thresholds = np.array([result.per_class.get(name, {}).get("threshold", np.nan) for name in scores.names], dtype=float)
    known = np.flatnonzero(np.isfinite(thresholds))
    if len(known) < 2:
        return []
    names = [scores.names[index] for index in known]
    labels = scores.labels[:, known]
    decisions = scores.scores[:, known] >= thresholds[known]
    ours = confusion_figure(label_confusion(labels, decisions), names, "Confusion")
    truth = confusion_figure(label_confusion(labels, np.nan_to_num(labels) > 0.5), names, "Truth", "the record has, too")
    return [
        page.paragraph(
            "Of the records that have the class of a row, the share for which the model says the class of a column "
            "(thresholds chosen on validation data). Classes occur together; the second matrix shows how often they truly do."
        ),
        page.side_by_side(
            [page.picture(ours, "confusion of the classes"), page.picture(truth, "co-occurrence of the classes")]
        ),
    ]


def with_curves(results: Sequence[StoredResult]) -> list[StoredResult]:
    """The results whose classes are shown: of linear probes that differ in the fraction alone, the largest fraction."""
    chosen: dict[tuple[str, ...], StoredResult] = {}
    for stored in results:
        result = stored.result
        if result.kind not in WITH_CLASSES:
            continue
        others = {key: value for key, value in result.settings.items() if key not in ("fraction", "n_train")}
        key = (str(stored.folder),)
        if result.kind == "linear_probe":
            key = (result.model, result.data_set, result.label_set, result.split, repr(sorted(others.items())))
        kept = chosen.get(key)
        if kept is None or result.settings.get("fraction", 1.0) > kept.result.settings.get("fraction", 1.0):
            chosen[key] = stored
    return list(chosen.values())


def tsne_section(stored: StoredResult, min_records: int = MIN_RECORDS) -> page.Section | None:
    """t-SNE of the embeddings kept beside a result; None without them.

    Raises:
        DataError: the file is damaged.
    """
    path = stored.folder / EMBEDDINGS_FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ecg, labels, names = arrays["ecg"], arrays["labels"], arrays["names"].tolist()
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: unreadable ({error}); run the evaluation again with --keep-embeddings") from None
    title = f"Embeddings: {_title(stored.result)}"
    try:
        shown = project(ecg, labels, names, min_records)
    except ValueError as error:
        return page.Section(title, [page.paragraph(f"Too few records for t-SNE: {error}.")])
    text = (
        f"t-SNE of the embeddings of {len(shown.points)} records with exactly one label, classes of at least {min_records} "
        f"such records, as in the paper's Figure 3; {shown.several} records with no or several labels are left out"
    )
    if shown.left_out:
        text += "; smaller classes: " + ", ".join(f"{name} ({count})" for name, count in shown.left_out.items())
    return page.Section(
        title, [page.paragraph(text + "."), page.picture(tsne_figure(shown, "t-SNE"), "embeddings of the records by class")]
    )


def words_section(manifest: Path) -> page.Section | None:
    """Most frequent reports and words of a manifest directory; None where it has no report."""
    reports = read_reports(manifest)
    if len(reports) == 0:
        return None
    texts, counts = reports.texts.to_pylist(), reports.counts
    n_records = int(counts.sum())
    order = np.argsort(-counts, kind="stable")[:TOP]
    whole = [(texts[index], int(counts[index])) for index in order]
    words = sorted(word_counts(texts, counts).items(), key=lambda entry: (-entry[1], entry[0]))[:TOP]
    pictures = [
        page.picture(frequency_figure(words, n_records, f"The {len(words)} most frequent words"), "word frequencies"),
        page.picture(frequency_figure(whole, n_records, f"The {len(whole)} most frequent reports"), "report frequencies"),
    ]
    text = f"{manifest}: {n_records} records with a report, {len(reports)} different ones. A word counts once per report."
    return page.Section(f"Reports of {manifest.name}", [page.paragraph(text), page.side_by_side(pictures)])


def training_section(name: str, lines: Sequence[LogLine]) -> page.Section | None:
    """Curves of one training log; None where it holds none."""
    pictures = []
    for key, (title, unit) in CURVE_TITLES.items():
        training, validation = curve(lines, INNER, key), curve(lines, "valid", key)
        if len(training[0]) or len(validation[0]):
            figure = training_curve(training, validation, title, unit)
            pictures.append(page.picture(figure, f"{title} over the updates of training"))
    return page.Section(f"Training: {name}", [page.side_by_side(pictures)]) if pictures else None


def _title(result: Result) -> str:
    details = settings_text(result)
    return f"{data_set_name(result)}, {KIND_NAMES[result.kind]}: {row_name(result)}" + (f" ({details})" if details else "")
