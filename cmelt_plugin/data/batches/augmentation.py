"""Augmentations of ECGs as functions of random numbers."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from cmelt_plugin.data.batches.inputs import InputOptions, Records
from cmelt_plugin.data.leads import LEADS


@dataclass
class LeadMaskingOptions(InputOptions):
    """Options of the task for systems that mask leads (:func:`random_lead_mask`)."""

    lead_mask_probability: float = field(
        default=0.5, metadata={"help": "random lead masking: probability of zeroing each lead in training"}
    )


def random_lead_mask(uniforms: np.ndarray, probability: float) -> np.ndarray:
    """Random lead masking (Oh et al. 2022): each lead is zeroed with ``probability``; at least one survives.

    Args:
        uniforms: float ``[B, leads]`` in [0, 1).
        probability: 0 masks nothing.

    Returns:
        bool ``[B, leads]``, True = to be zeroed.
    """
    mask = uniforms < probability
    all_masked = mask.all(axis=1)
    mask[all_masked, uniforms[all_masked].argmax(axis=1)] = False
    return mask


def add_lead_mask(batch: dict[str, Any], records: Records, probability: float) -> None:
    """Add ``lead_mask`` (bool ``[B, 12]``, True = to be zeroed) to a batch's ``net_input``; with a probability of 0 nothing."""
    if probability > 0:
        keys = np.stack([generator.random(len(LEADS)) for generator in records.generators])
        batch["net_input"]["lead_mask"] = torch.from_numpy(random_lead_mask(keys, probability))
