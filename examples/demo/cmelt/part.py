"""What the page shows of C-MELT alone: matching, masked words, masked ECG.

The other sections ask a model only for what :mod:`cmelt_plugin.models.base` promises. This one knows C-MELT's losses by name
and calls its masked forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.padding import padded_texts
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.data.text.token_files import open_token_file
from cmelt_plugin.evaluation.plots.ecg import ecg_figure
from cmelt_plugin.evaluation.report.blocks import Metric, Picture, Section
from cmelt_plugin.models.inference.pretrained import Pretrained
from examples.demo.cmelt.reconstruction import reconstruct

CURVES = {
    "loss": ("All losses together", "nats + MSE, weighted sum"),
    "loss_mlm": ("Masked words (MLM)", "cross-entropy, nats"),
    "loss_mem": ("Masked ECG (MEM)", "squared error, standardised"),
    "loss_etm": ("ECG–text matching (ETM)", "cross-entropy, nats"),
    "loss_siglep": ("Contrastive (Siglep)", "nats per ECG"),
    "mlm_accuracy": ("Masked words recovered", "accuracy"),
    "etm_accuracy": ("ECG–text matching", "accuracy"),
}
HIDDEN_LEADS = ("aVR", "V2")  # hidden throughout in the example of masking


def metrics(measured: Mapping[str, float], bars: Mapping[str, float]) -> list[Metric]:
    """What C-MELT alone can be asked for.

    Args:
        measured: what the host logged on the held-out split.
        bars: logged name → bar.
    """
    return [
        Metric("ECG–text matching, accuracy", measured["etm_accuracy"], bars.get("etm_accuracy"), 0.5),
        Metric("masked words recovered, accuracy", measured["mlm_accuracy"], bars.get("mlm_accuracy")),
        # Standardised samples: their mean in place of every hidden one gives 1.
        Metric("masked ECG, squared error", measured["loss_mem"], bars.get("loss_mem"), 1.0, is_error=True),
    ]


def sections(loaded: Pretrained, directory: Path, split: str) -> list[Section]:
    """What C-MELT alone can show."""
    return [_masked_section(loaded, directory, split, row=0)]


def _masked_section(loaded: Pretrained, directory: Path, split: str, row: int) -> Section:
    """One record, what is hidden from the model, and what the model puts there."""
    manifest = Manifest.open(directory, split)
    ecg = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard[[row]], manifest.row[[row]])[0])
    report_id = int(manifest.report_ids()[row])
    tokens = open_token_file(directory, "reports", loaded.cfg["task"].get("tokenizer"))
    text, padding = map(torch.from_numpy, padded_texts(tokens, np.array([report_id]), loaded.max_text_tokens))
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
    return Section(
        "Masked ECG modelling", [Picture(figure, "12-lead ECG with masked parts and reconstruction", caption, wide=True)]
    )
