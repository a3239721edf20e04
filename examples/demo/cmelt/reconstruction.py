"""What masked ECG modelling puts into the hidden parts of a record, back in millivolts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.modules.ecg.patches import unpatchify


class Reconstruction(NamedTuple):
    """One record.

    Attributes:
        signal: float32 ``[12, T]`` mV, NaN beyond the last whole token of real samples.
        hidden: bool ``[T]``, True = this sample's token was dropped before the encoder; False in padding.
    """

    signal: np.ndarray
    hidden: np.ndarray


@torch.no_grad()
def reconstruct(
    model: Any,
    ecg: Tensor,
    text: Tensor,
    text_padding_mask: Tensor,
    lead_mask: Tensor | None = None,
    seed: int = 1,
    n_samples: int | None = None,
) -> Reconstruction:
    """Hide parts of one record as in training and let the model fill them in.

    Args:
        model: a C-MELT in eval mode.
        ecg: ``[12, T]`` mV.
        text: ``[1, L]`` ids of its report; text_padding_mask: ``[1, L]``, True = padding.
        lead_mask: bool ``[12]``, True = a lead that is hidden throughout.
        seed: decides which tokens are dropped.
        n_samples: real samples, the rest is padding; None: all.
    """
    n_samples = ecg.shape[1] if n_samples is None else n_samples
    n_tokens, n_leads = model.n_ecg_tokens, ecg.shape[0]
    noise = np.random.default_rng(seed).integers(0, 2**31, (1, n_tokens))
    out = model(
        ecg[None],
        text,
        text_padding_mask,
        n_samples=None if n_samples == ecg.shape[1] else torch.tensor([n_samples]),
        lead_mask=None if lead_mask is None else lead_mask[None],
        mem_noise=torch.from_numpy(noise),
        objectives=("mem",),
    )
    standardised = unpatchify(out["mem_prediction"], n_leads)[0]
    samples_per_token = model.ecg_encoder.samples_per_token
    # The target is standardised per lead over the real ones of these samples; this is its inverse.
    used = ecg[:, : min(n_samples, n_tokens * samples_per_token)].float()
    variance, mean = torch.var_mean(used, dim=-1, keepdim=True, unbiased=True)
    n_whole = min(n_tokens, model.ecg_encoder.n_tokens(n_samples)) * samples_per_token
    signal = np.full(ecg.shape, np.nan, dtype=np.float32)
    signal[:, :n_whole] = (standardised[:, :n_whole] * (variance + 1e-6).sqrt() + mean).numpy()
    hidden = np.zeros(ecg.shape[1], dtype=bool)
    hidden[:n_whole] = np.repeat(out["mem_mask"][0].numpy(), samples_per_token)[:n_whole]
    return Reconstruction(signal, hidden)
