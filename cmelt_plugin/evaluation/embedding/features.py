"""What linear probes are trained on: one pooled vector per record from a frozen ECG encoder, computed once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import atomic_path, fingerprint
from cmelt_plugin.data.leads import LEADS, lead_keep_mask
from cmelt_plugin.data.store.record_store import STORE_FILE
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.batches import gather_rows, record_batches
from cmelt_plugin.evaluation.embedding.precision import BF16, encoder_precision
from cmelt_plugin.modules.pooling import ECG_POOLS, pool_ecg_states

FORMAT = 1


def extract_features(
    model: Any,
    manifest: Manifest,
    pool: str = "cls",
    leads: Sequence[str] | None = None,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    num_workers: int = 0,
    progress: bool = True,
    bf16: bool = False,
) -> np.ndarray:
    """Pooled states of the ECG encoder for every record of a split, in eval mode, without masking.

    Args:
        model: anything with an ``ecg_encoder`` (``cmelt_plugin.modules.ecg_encoder.ECGEncoder``).
        manifest: the split; padding of short records is masked.
        pool: ``cls`` or ``mean``, see :func:`cmelt_plugin.modules.pooling.pool_ecg_states`.
        leads: the leads to use, the others are zero as in lead masking; None: all twelve.
        batch_size: records at a time.
        device: where to compute; the encoder is moved back afterwards.
        num_workers: processes that read ahead; 0: a thread does.
        progress: show a bar on stderr.
        bf16: the encoder runs in bfloat16 autocast, otherwise in float32; pooling is float32.

    Returns:
        float32 ``[N, D]``, rows in the manifest's order.

    Raises:
        DataError: unknown lead or pool, unreadable records, or a feature that is not finite.
    """
    if pool not in ECG_POOLS:
        raise DataError(f"pool must be one of {', '.join(ECG_POOLS)}, not {pool!r}")
    device = torch.device(device)
    keep = torch.from_numpy(lead_keep_mask(LEADS if leads is None else leads)).to(device)
    encoder: nn.Module = model.ecg_encoder
    was_training, home = encoder.training, next(encoder.parameters()).device

    def pooled(ecg: Tensor, n_samples: Tensor | None) -> Tensor:
        encoded = encoder(ecg * keep[:, None], n_samples)
        return pool_ecg_states(encoded.states.float(), encoded.padding_mask, pool)

    encoder.eval().to(device)
    try:
        with torch.no_grad(), encoder_precision(device, bf16):
            name = f"features of {manifest.split}"
            with tqdm(total=len(manifest), desc=name, unit=" records", disable=not progress) as bar:
                batches = record_batches(manifest, batch_size, device, num_workers)
                features = gather_rows((pooled(*batch) for batch in batches), bar.update)
    finally:
        encoder.train(was_training).to(home)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise DataError(
            f"{manifest.directory}/{manifest.split}.tsv, line {bad[0] + 2}: the encoder's features are not finite "
            f"({len(bad)} records in all); the checkpoint holds NaN or the recording does"
        )
    return features


def cached_features(
    cache: str | os.PathLike,
    model: Any,
    manifest: Manifest,
    pool: str = "cls",
    leads: Sequence[str] | None = None,
    bf16: bool = False,
    **options: Any,
) -> np.ndarray:
    """:func:`extract_features` that keeps what it computed in the folder ``cache``, as ``features.<key>.npz``.

    The key covers the encoder's weights and sizes, the records, the pool, the leads and the precision, so a changed
    checkpoint or manifest never meets old features.

    Raises:
        DataError: as :func:`extract_features`; or a file of that name is damaged or holds something else.
    """
    info = feature_info(model, manifest, pool, leads, bf16)
    path = Path(cache) / f"features.{_digest(json.dumps(info, sort_keys=True).encode())[:16]}.npz"
    if path.is_file():
        return _read(path, info)
    features = extract_features(model, manifest, pool, leads, bf16=bf16, **options)
    with atomic_path(path) as temporary:
        np.savez(temporary, features=features, info=np.frombuffer(json.dumps(info).encode(), dtype=np.uint8))
    return features


def feature_info(model: Any, manifest: Manifest, pool: str, leads: Sequence[str] | None, bf16: bool = False) -> dict[str, Any]:
    """All that decides the features of a split: encoder, records, pool, leads and precision; JSON values."""
    keep = lead_keep_mask(LEADS if leads is None else leads)
    return {
        "format": FORMAT,
        "encoder": encoder_fingerprint(model.ecg_encoder),
        "records": fingerprint(manifest.directory / f"{manifest.split}.tsv"),
        "store": fingerprint(manifest.store_root / STORE_FILE),
        "n": len(manifest),
        "pool": pool,
        "leads": [lead for lead, kept in zip(LEADS, keep) if kept],
        **({"precision": BF16} if bf16 else {}),  # without a word it is float32, as in older files
    }


def encoder_fingerprint(encoder: nn.Module) -> str:
    """``sha256:`` over weights and plain settings (heads, epsilons, …) of a module and what is in it."""
    digest = hashlib.sha256()
    for name, values in sorted(encoder.state_dict().items()):
        values = values.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.float().numpy().tobytes())
    for name, module in encoder.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
        settings = sorted((key, value) for key, value in plain.items() if not key.startswith("_") and key != "training")
        digest.update(f"{name} {type(module).__name__} {settings}\n".encode())
    return "sha256:" + digest.hexdigest()


def _read(path: Path, info: dict[str, Any]) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            features, found = arrays["features"], json.loads(arrays["info"].tobytes().decode())
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: unreadable ({error}); delete it, and it is computed again") from None
    if found != info or features.dtype != np.float32 or features.ndim != 2 or len(features) != info["n"]:
        raise DataError(f"{path}: features of another encoder or other records than its name says; delete it")
    return features


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
