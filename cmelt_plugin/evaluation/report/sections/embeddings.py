"""Where the records of each class lie among the embeddings of a result."""

from __future__ import annotations

import zipfile

import numpy as np

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.plots.tsne import MIN_RECORDS, project, tsne_figure
from cmelt_plugin.evaluation.report.blocks import Paragraph, Picture, Section
from cmelt_plugin.evaluation.report.descriptions import heading
from cmelt_plugin.evaluation.result_files import EMBEDDINGS_FILE, StoredResult


def tsne_section(stored: StoredResult, min_records: int = MIN_RECORDS) -> Section | None:
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
    title = f"Embeddings: {heading(stored.result)}"
    try:
        shown = project(ecg, labels, names, min_records)
    except ValueError as error:
        return Section(title, [Paragraph(f"Too few records for t-SNE: {error}.")])
    text = (
        f"t-SNE of the embeddings of {len(shown.points)} records with exactly one label, classes of at least {min_records} "
        f"such records, as in Figure 3 of the C-MELT paper; {shown.several} records with no or several labels are left out"
    )
    if shown.left_out:
        text += "; smaller classes: " + ", ".join(f"{name} ({count})" for name, count in shown.left_out.items())
    return Section(title, [Paragraph(text + "."), Picture(tsne_figure(shown, "t-SNE"), "embeddings of the records by class")])
