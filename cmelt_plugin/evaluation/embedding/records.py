"""The recordings of a split through the ECG encoder, kept on disk where asked, so that class texts compare at no cost."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import atomic_path, fingerprint
from cmelt_plugin.data.store.record_store import STORE_FILE
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.batches import gather_rows, record_batches
from cmelt_plugin.evaluation.embedding.precision import BF16, encoder_precision

FORMAT = 1
WEIGHT_FILES = (".safetensors", ".pt", ".bin", ".json")


@torch.no_grad()
def embed_records(model: Any, manifest: Manifest, batch_size: int = 64, device: str = "cpu", bf16: bool = False) -> np.ndarray:
    """Embeddings of all records of a split as they enter a dot product: float32 ``[N, D]``.

    Args:
        model: anything with ``embed_ecg(ecg [B, 12, 5000] mV, n_samples [B] or None)`` → ``[B, D]``, on ``device``.
        manifest: the split; what lies beyond a record's real samples reaches no token.
        batch_size: records at once; the next ones are read meanwhile.
        device: of the model.
        bf16: ``embed_ecg`` runs in bfloat16 autocast, otherwise in float32.

    Raises:
        DataError: unreadable records, or the model gives NaN or infinity; the message names the first such record.
    """
    steps = -(-len(manifest) // batch_size)
    name = f"{manifest.directory.name}/{manifest.split}"
    with tqdm(total=steps, desc=name, unit="batch", disable=steps < 8) as bar, encoder_precision(device, bf16):
        batches = record_batches(manifest, batch_size, device)
        embeddings = gather_rows((model.embed_ecg(*batch).mean for batch in batches), lambda rows: bar.update())
    odd = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(odd):
        first = manifest.meta(["record_id"])["record_id"][int(odd[0])].as_py()
        raise DataError(
            f"{manifest.directory}/{manifest.split}.tsv: the model gives NaN or infinity for {len(odd)} of {len(embeddings)} "
            f"records, first {first}; is the checkpoint whole?"
        )
    return embeddings


def cached_embeddings(
    model: Any,
    manifest: Manifest,
    checkpoint: str | os.PathLike,
    cache: str | os.PathLike | None,
    batch_size: int = 64,
    device: str = "cpu",
    variant: str = "",
    bf16: bool = False,
) -> np.ndarray:
    """:func:`embed_records`, read from ``cache`` where the same checkpoint has embedded the same records before.

    Args:
        checkpoint: file or folder the model was loaded from.
        cache: folder for the embeddings; None: always compute.
        variant: what else tells models of the same checkpoint apart, e.g. the order of leads it was loaded with.
        model, manifest, batch_size, device, bf16: as :func:`embed_records`.

    Raises:
        DataError: as :func:`embed_records`, or the cached file is damaged.
    """
    if cache is None:
        return embed_records(model, manifest, batch_size, device, bf16)
    variant = f"{variant} {BF16}" if bf16 else variant
    path = Path(cache) / f"ecg-{_key(manifest, checkpoint, variant)}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                embeddings = arrays["ecg"]
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
            raise DataError(f"{path}: damaged ({error}); delete it") from None
        if embeddings.ndim == 2 and len(embeddings) == len(manifest):
            return embeddings
        raise DataError(f"{path}: holds {embeddings.shape} for {len(manifest)} records; delete it")
    embeddings = embed_records(model, manifest, batch_size, device, bf16)
    with atomic_path(path) as temporary:
        np.savez(temporary, ecg=embeddings)
    return embeddings


def checkpoint_fingerprint(checkpoint: str | os.PathLike) -> str:
    """``sha256:…`` of a checkpoint file, or of the weights and configuration in a folder."""
    path = Path(checkpoint)
    if not path.is_dir():
        return fingerprint(path)
    files = sorted(file for file in path.iterdir() if file.suffix in WEIGHT_FILES)
    return _digest([f"{file.name} {fingerprint(file)}" for file in files])


def _key(manifest: Manifest, checkpoint: str | os.PathLike, variant: str = "") -> str:
    """Changes with the weights, the list of records, and the recordings (store.json holds the shards' checksums)."""
    parts = [
        f"format {FORMAT} {variant}",
        checkpoint_fingerprint(checkpoint),
        fingerprint(manifest.directory / f"{manifest.split}.tsv"),
        fingerprint(Path(manifest.store_root) / STORE_FILE),
    ]
    return _digest(parts)[len("sha256:") :][:32]


def _digest(lines: list[str]) -> str:
    return "sha256:" + hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()
