"""The sections of a report page about one pre-training run: manifest directory, log, checkpoint → figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.evaluation.embedding.pairs import EmbeddedSplit, open_tokens, pad_texts
from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.evaluation.plots.classification import auc_figure, roc_figure
from cmelt_plugin.evaluation.plots.curves import overlaid_curves, training_curve
from cmelt_plugin.evaluation.plots.ecg import ecg_figure
from cmelt_plugin.evaluation.plots.similarity import similarity_figure
from cmelt_plugin.evaluation.report import page
from cmelt_plugin.evaluation.report.training_log import INNER, LogLine, curve
from cmelt_plugin.models.checkpoint import LoadedModel
from examples.demo.reconstruction import reconstruct

CURVES = {
    "loss": ("All losses together", "nats + MSE, weighted sum"),
    "loss_mlm": ("Masked words (MLM)", "cross-entropy, nats"),
    "loss_mem": ("Masked ECG (MEM)", "squared error, standardised"),
    "loss_etm": ("ECG–text matching (ETM)", "cross-entropy, nats"),
    "loss_siglep": ("Contrastive (Siglep)", "nats per ECG"),
    "mlm_accuracy": ("Masked words recovered", "accuracy"),
    "etm_accuracy": ("ECG–text matching", "accuracy"),
}
MAX_CURVES_PER_ROC = 8
HIDDEN_LEADS = ("aVR", "V2")  # shown hidden throughout in the example of masking


class NegativePair(NamedTuple):
    """A report, one of its negatives, and their cosine distance."""

    report: str
    negative: str
    distance: float


def data_section(directory: Path, splits: Sequence[str]) -> page.Section:
    """Records in, out and rejected, splits, reports and negatives of a manifest directory."""
    manifest = read_json(directory / "manifest.json")
    counts = manifest["counts"]
    rejected = counts["rejected"]
    rows: list[list[Any]] = [
        ["records read", counts["in"]],
        ["records packed", counts["out"]],
        ["records rejected", f"{sum(rejected.values())}" + "".join(f"; {code}: {n}" for code, n in rejected.items())],
        ["unique reports", manifest["reports"]],
    ]
    rows += [[f"records in split {name}", count] for name, count in manifest["splits"].items()]
    blocks = [page.table(["", "number"], rows, numeric=[1])]
    negatives = []
    for split in splits:
        info = NegativeTable.load(directory, split).info
        values = [info.get(key, float("nan")) for key in ("share_used", "text_only_auc", "mean_distance")]
        negatives.append([split, info["strategy"], info["embedder"], info["k"], *(f"{value:.3f}" for value in values)])
    head = ["split", "strategy", "embedder", "k", "share of reports used", "text-only AUC", "mean distance"]
    blocks.append(page.table(head, negatives, numeric=[3, 4, 5, 6]))
    blocks.append(
        page.paragraph(
            "Text-only AUC: how well swapped reports can be told from true ones without looking at the ECG. 0.5 means "
            "not at all, so that matching has to be learnt from the ECG."
        )
    )
    return page.Section("Data", blocks)


def negatives_section(directory: Path, split: str, embeddings: np.ndarray, n_reports: int = 6) -> page.Section:
    """Example pairs of report and negative, spread from the most frequent report to rare ones."""
    pairs = negative_pairs(directory, split, embeddings, n_reports)
    rows = [[pair.report, pair.negative, f"{pair.distance:.2f}"] for pair in pairs]
    return page.Section(
        "Negative reports (N3S)",
        [
            page.paragraph(
                "Half of the ECGs of a batch stand beside a negative in place of their own report. Distance: cosine distance "
                "of the texts, 0 to 2."
            ),
            page.table(["report", "its negative", "distance"], rows, numeric=[2]),
        ],
    )


def negative_pairs(directory: Path, split: str, embeddings: np.ndarray, n_reports: int) -> list[NegativePair]:
    """Example pairs.

    Args:
        directory, split: where the negatives are.
        embeddings: ``[reports, d]``, rows of unit norm, of all reports in the order of reports.parquet.
        n_reports: how many.
    """
    table = NegativeTable.load(directory, split)
    texts = read_reports(directory).texts
    present, counts = np.unique(Manifest.open(directory, split).report_ids(), return_counts=True)
    by_frequency = present[np.argsort(-counts, kind="stable")]
    chosen = by_frequency[np.unique(np.geomspace(1, len(by_frequency), n_reports).astype(int) - 1)]
    drawn = table.draw(chosen, np.random.default_rng(1).random(len(chosen)))
    return [
        NegativePair(texts[int(own)].as_py(), texts[int(other)].as_py(), float(1 - embeddings[own] @ embeddings[other]))
        for own, other in zip(chosen, drawn)
    ]


def curves_section(lines: Sequence[LogLine], valid: str = "valid", bars: dict[str, float] | None = None) -> page.Section:
    """Losses, accuracies and learning rate over the course of training."""
    blocks = []
    for name, (title, unit) in CURVES.items():
        training = curve(lines, INNER, name)
        if len(training[0]):
            figure = training_curve(training, curve(lines, valid, name), title, unit, (bars or {}).get(name))
            blocks.append(page.picture(figure, f"{title} over the updates of training"))
    rate = curve(lines, INNER, "lr")
    if len(rate[0]):
        blocks.append(page.picture(overlaid_curves({"lr": rate}, "Learning rate", "step size"), "learning rate schedule"))
    scale = curve(lines, INNER, "logit_scale")
    if len(scale[0]):
        figure = overlaid_curves({"scale": scale}, "Scale of the similarities", "factor")
        blocks.append(page.picture(figure, "learned scale of the contrastive loss"))
    return page.Section("Training", [page.side_by_side(blocks)])


def reconstruction_section(loaded: LoadedModel, directory: Path, split: str, row: int) -> page.Section:
    """One record, what is hidden from the model, and what the model puts there."""
    manifest = Manifest.open(directory, split)
    ecg = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard[[row]], manifest.row[[row]])[0])
    report_id = int(manifest.report_ids()[row])
    tokens = open_tokens(directory, "reports", "reports.parquet", loaded.cfg["task"].get("tokenizer"), None)
    text, padding = pad_texts(tokens, np.array([report_id]), loaded.cfg["task"]["max_text_tokens"])
    lead_mask = torch.tensor([lead in HIDDEN_LEADS for lead in LEADS])
    result = reconstruct(loaded.model, ecg, text, padding, lead_mask, n_samples=int(manifest.n_samples[row]))
    record = manifest.meta(["record_id"])["record_id"][row].as_py()
    report = read_reports(directory).texts[report_id].as_py()
    figure = ecg_figure(
        ecg.numpy(),
        masked=result.hidden,
        masked_leads=lead_mask.numpy(),
        reconstruction=result.signal,
        title=f"record {record}",
    )
    share = f"{result.hidden.mean():.0%}"
    caption = (
        f"Report: “{report}”. Shaded: hidden from the model, {share} of the time in all leads and "
        f"{' and '.join(HIDDEN_LEADS)} throughout. Blue: the model's reconstruction, scaled back to millivolts."
    )
    return page.Section(
        "Masked ECG modelling", [page.picture(figure, "12-lead ECG with masked parts and reconstruction", caption, wide=True)]
    )


def similarity_section(embedded: EmbeddedSplit, groups: Sequence[str], n_pairs: int = 40) -> page.Section:
    """Cosine similarities of some test pairs, sorted by group, each distinct report at most once.

    Args:
        embedded: the split.
        groups: group of each of the N records; records of group "" are left out.
        n_pairs: how many pairs are shown, taken from the groups in turn.
    """
    order: dict[str, list[int]] = {}
    seen = set()
    for row, group in enumerate(groups):
        report = int(embedded.report[row])
        if group and report not in seen:
            seen.add(report)
            order.setdefault(group, []).append(row)
    chosen: list[int] = []
    depth = 0
    while len(chosen) < n_pairs and any(len(rows) > depth for rows in order.values()):
        chosen += [rows[depth] for rows in order.values() if len(rows) > depth]
        depth += 1
    chosen = sorted(chosen[:n_pairs], key=lambda row: (list(order).index(groups[row]), row))
    ecg = torch.nn.functional.normalize(embedded.ecg[chosen], dim=-1)
    text = torch.nn.functional.normalize(embedded.text[embedded.report[chosen]], dim=-1)
    figure = similarity_figure((ecg @ text.T).numpy(), [groups[row] for row in chosen])
    caption = f"{len(chosen)} records of held-out subjects and their reports, sorted by rhythm; each report text once."
    return page.Section("ECGs and reports", [page.picture(figure, "similarity of ECGs and reports", caption)])


def zero_shot_section(embedded: EmbeddedSplit, bar: float | None = None) -> page.Section:
    """ROC curves and areas per class, from the similarity of records to class texts."""
    if embedded.labels is None or embedded.scores is None:
        raise ValueError("the split has no labels with class texts")
    auc = macro_auc(embedded.labels, embedded.scores, embedded.names)
    best_first = sorted(auc.per_class, key=lambda name: -auc.per_class[name])
    positives = {name: int(np.nansum(embedded.labels[:, embedded.names.index(name)])) for name in best_first}
    figures = [page.picture(auc_figure(auc.per_class, positives, auc.macro, bar), "area under the ROC curve of each class")]
    n_figures = -(-len(best_first) // MAX_CURVES_PER_ROC)
    for names in np.array_split(np.array(best_first), max(n_figures, 1)):
        part = {str(name): auc.per_class[str(name)] for name in names}
        title = "ROC" if n_figures == 1 else f"ROC, {names[0]} to {names[-1]}"
        figures.append(page.picture(roc_figure(embedded.labels, embedded.scores, embedded.names, part, title), title))
    texts = [
        page.paragraph(
            "No class was trained: the score of a record for a class is the similarity of its embedding to that of the "
            "class's texts."
        )
    ]
    if auc.excluded:
        texts.append(page.paragraph(f"Left out for want of positive or negative records: {', '.join(auc.excluded)}."))
    return page.Section("Zero-shot classification", [*texts, page.side_by_side(figures)])
