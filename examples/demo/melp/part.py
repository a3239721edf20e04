"""What the page shows of MELP alone: the course of its three losses, and reports that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.evaluation.embedding.passes import evaluating
from cmelt_plugin.evaluation.report.blocks import Metric, Paragraph, Section, Table
from cmelt_plugin.models.inference.pretrained import Pretrained

CURVES = {
    "loss": ("All losses together", "nats, weighted sum"),
    "loss_clip": ("ECG against report", "nats, both directions"),
    "loss_caption": ("Next word of the report", "cross-entropy, nats"),
    "loss_local": ("Parts of the ECG against sentences", "nats, both directions"),
}
SHOWN = 10  # recordings whose reports are written


def metrics(measured: Mapping[str, float], bars: Mapping[str, float]) -> list[Metric]:
    """None: its contrastive losses depend on how many records a batch has."""
    return []


def sections(loaded: Pretrained, directory: Path, split: str) -> list[Section]:
    """What MELP alone can show."""
    return [_written_section(loaded, Manifest.open(directory, split))]


def _written_section(loaded: Pretrained, manifest: Manifest) -> Section:
    """The first recordings with different reports, and what the model writes of each."""
    reports = manifest.report_ids()
    rows = np.sort(np.unique(reports, return_index=True)[1])[:SHOWN]
    ecg = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard[rows], manifest.row[rows]))
    with torch.no_grad(), evaluating(loaded.model, "cpu") as model:
        written = loaded.decode_text(model.generate(ecg, torch.from_numpy(manifest.n_samples[rows].astype(np.int64))))
    records = manifest.meta(["record_id"])["record_id"].take(rows).to_pylist()
    texts = read_reports(manifest.directory).texts
    table = [[record, texts[int(reports[row])].as_py(), text] for record, row, text in zip(records, rows, written)]
    command = "python -m cmelt_plugin.evaluation.generate"
    return Section(
        "Written reports",
        [
            Table(["record", "its report", "written by the model"], table),
            Paragraph(
                f"The first {len(rows)} held-out recordings with different reports, each word the likeliest one. How often the "
                f"findings are right, beside the report of the nearest recording, is what {command} measures."
            ),
        ],
    )
