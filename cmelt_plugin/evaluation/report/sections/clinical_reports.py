"""What the clinical reports of a manifest directory say most often."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.evaluation.plots.words import frequency_figure, word_counts
from cmelt_plugin.evaluation.report.blocks import Paragraph, Picture, Section, SideBySide

TOP = 30  # entries in each picture


def words_section(manifest: Path) -> Section | None:
    """Most frequent reports and words of a manifest directory; None where it has no report."""
    reports = read_reports(manifest)
    if len(reports) == 0:
        return None
    texts, counts = reports.texts.to_pylist(), reports.counts
    n_records = int(counts.sum())
    order = np.argsort(-counts, kind="stable")[:TOP]
    whole = [(texts[index], int(counts[index])) for index in order]
    words = sorted(word_counts(texts, counts.tolist()).items(), key=lambda entry: (-entry[1], entry[0]))[:TOP]
    pictures = [
        Picture(frequency_figure(words, n_records, f"The {len(words)} most frequent words"), "word frequencies"),
        Picture(frequency_figure(whole, n_records, f"The {len(whole)} most frequent reports"), "report frequencies"),
    ]
    text = f"{manifest}: {n_records} records with a report, {len(reports)} different ones. A word counts once per report."
    return Section(f"Reports of {manifest.name}", [Paragraph(text), SideBySide(pictures)])
