"""The reports that a model writes for the recordings of a split."""

from __future__ import annotations

import torch
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.evaluation.embedding.batches import record_batches
from cmelt_plugin.evaluation.embedding.passes import evaluating
from cmelt_plugin.evaluation.embedding.precision import encoder_precision
from cmelt_plugin.models.inference.pretrained import Pretrained


@torch.no_grad()
def write_reports(
    pretrained: Pretrained,
    manifest: Manifest,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    bf16: bool = False,
    *,
    beams: int,
    max_tokens: int,
) -> list[str]:
    """A report for every recording of a split, in the manifest's order and the normal form of reports.

    Args:
        pretrained: whose model is a :class:`~cmelt_plugin.models.base.ReportWriter`.
        manifest: the split.
        batch_size: recordings at a time.
        device: where to compute.
        bf16: the model runs in bfloat16 autocast.
        beams, max_tokens: as :meth:`~cmelt_plugin.models.base.ReportWriter.generate`.

    Raises:
        DataError: unreadable records, or no tokenizer.
    """
    pretrained.tokenizer  # noqa: B018  # what is missing is said before an hour's work
    ids: list[list[int]] = []
    name = f"writing, {manifest.directory.name}/{manifest.split}"
    with tqdm(total=len(manifest), desc=name, unit=" records") as bar, encoder_precision(device, bf16):
        with evaluating(pretrained.model, device) as model:
            for ecg, n_samples in record_batches(manifest, batch_size, device):
                ids += model.generate(ecg, n_samples, beams=beams, max_tokens=max_tokens)
                bar.update(len(ecg))
    return pretrained.decode_text(ids)
