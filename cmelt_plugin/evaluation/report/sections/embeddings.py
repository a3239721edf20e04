"""Where the records of each class lie among the embeddings of a result."""

from __future__ import annotations

from cmelt_plugin.evaluation.plots.tsne import MIN_RECORDS, project, tsne_figure
from cmelt_plugin.evaluation.report.blocks import Paragraph, Picture, Section
from cmelt_plugin.evaluation.report.descriptions import heading
from cmelt_plugin.evaluation.result_files import EMBEDDINGS_FILE, StoredResult


def tsne_section(stored: StoredResult, min_records: int = MIN_RECORDS) -> Section | None:
    """t-SNE of the embeddings kept beside a result; None without them.

    Raises:
        DataError: the file is damaged.
    """
    arrays = stored.arrays(EMBEDDINGS_FILE, ("ecg", "labels", "names"), "run the evaluation again with --keep-embeddings")
    if arrays is None:
        return None
    ecg, labels, names = arrays
    title = f"Embeddings: {heading(stored.result)}"
    try:
        shown = project(ecg, labels, names.tolist(), min_records)
    except ValueError as error:
        return Section(title, [Paragraph(f"Too few records for t-SNE: {error}.")])
    text = (
        f"t-SNE of the embeddings of {len(shown.points)} records with exactly one label, classes of at least {min_records} "
        f"such records, as in Figure 3 of the C-MELT paper; {shown.several} records with no or several labels are left out"
    )
    if shown.left_out:
        text += "; smaller classes: " + ", ".join(f"{name} ({count})" for name, count in shown.left_out.items())
    return Section(title, [Paragraph(text + "."), Picture(tsne_figure(shown, "t-SNE"), "embeddings of the records by class")])
