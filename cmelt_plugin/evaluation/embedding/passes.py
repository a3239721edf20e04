"""One pass of an encoder over the recordings of a split: the only loop that embeds records."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.leads import LEADS, lead_keep_mask
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.batches import record_batches
from cmelt_plugin.evaluation.embedding.precision import encoder_precision

FEW_BATCHES = 8  # fewer are over before a progress bar says anything

Columns = dict[str, np.ndarray]


@torch.no_grad()
def over_records(
    encode: Callable[[Tensor, Tensor | None], dict[str, Tensor]],
    manifest: Manifest,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    workers: int = 0,
    bf16: bool = False,
    progress: bool = True,
    leads: Sequence[str] | None = None,
) -> Columns:
    """Outputs of ``encode`` for every record of a split, in the manifest's order.

    Args:
        encode: ``ecg [B, 12, 5000]`` float32 mV and real samples ``[B]`` (None: none is padded), both on ``device`` → name →
            ``[B, D]``.
        manifest: the split.
        batch_size: records at a time; the next ones are read meanwhile.
        device: where ``encode`` works.
        workers: processes that read ahead; 0: a thread does.
        bf16: ``encode`` runs in bfloat16 autocast, otherwise in float32, whatever surrounds the call.
        progress: show a bar on stderr.
        leads: names of those that ``encode`` sees, the others are zero as in lead masking; None: all.

    Returns:
        Name → float32 ``[N, D]``.

    Raises:
        DataError: unknown leads, unreadable records, or an output is NaN or infinite; the message names the first such record.
    """
    few = len(manifest) <= FEW_BATCHES * batch_size
    name = f"{manifest.directory.name}/{manifest.split}"
    keep = torch.from_numpy(lead_keep_mask(LEADS if leads is None else leads)).to(device)
    with tqdm(total=len(manifest), desc=name, unit=" records", disable=few or not progress) as bar:
        with encoder_precision(device, bf16):
            batches = record_batches(manifest, batch_size, device, workers)
            if leads is not None:
                batches = ((ecg * keep[:, None], n_samples) for ecg, n_samples in batches)
            columns = fetch_columns((encode(*batch) for batch in batches), bar.update)
    finite = np.all([np.isfinite(values).all(axis=1) for values in columns.values()], axis=0)
    bad = np.flatnonzero(~finite)
    if len(bad):
        record = manifest.meta(["record_id"])["record_id"][int(bad[0])].as_py()
        raise DataError(
            f"{manifest.directory}/{manifest.split}.tsv, line {bad[0] + 2}: the model gives NaN or infinity for {len(bad)} of "
            f"{len(finite)} records, first {record}; is the checkpoint whole?"
        )
    return columns


def fetch_columns(outputs: Iterator[dict[str, Tensor]], done: Callable[[int], object] = lambda rows: None) -> Columns:
    """Name → float32 ``[N, D]`` on the host from the outputs ``[B, D]`` of all batches.

    A batch is fetched only after the next one was handed to the device, which therefore never waits for the host.

    Args:
        outputs: computed one by one as they are asked for.
        done: called with the number of rows after each batch.
    """
    parts: dict[str, list[Tensor]] = {}
    waiting: deque[dict[str, Tensor]] = deque()

    def fetch() -> None:
        for name, values in waiting.popleft().items():
            parts.setdefault(name, []).append(values.cpu())

    for output in outputs:
        waiting.append({name: values.float() for name, values in output.items()})
        if len(waiting) > 1:
            fetch()
        done(len(next(iter(output.values()))))
    while waiting:
        fetch()
    return {name: torch.cat(values).numpy() for name, values in parts.items()}


@contextmanager
def evaluating(model: torch.nn.Module, device: str | torch.device) -> Iterator[Any]:
    """The model in eval mode on the device; afterwards it is as it was and where it was."""
    was_training = model.training
    home = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        model.eval().to(device)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise DataError(f"device {device}: {str(error).splitlines()[0]}") from None
    try:
        yield model
    finally:
        model.train(was_training).to(home)
