"""Augmentations of ECGs as functions of random numbers."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
import torch

from cmelt_plugin.data.batches.inputs import InputOptions, Records
from cmelt_plugin.data.leads import LEADS, lead_keep_mask, parse_leads
from cmelt_plugin.errors import DataError

RANDOM, ANY = "random", "any"
LEAD_SETS_HELP = (
    "sets of leads that training shows, with weights, e.g. 'all:0.5 limb:0.1 I+II+V2:0.1 I+II:0.1 I:0.1 any:0.1'; a record has "
    "one of them in an epoch. any: any number of any leads; random: lead_mask_probability for each; null: always random"
)


@dataclass
class LeadMaskingOptions(InputOptions):
    """Options of the task for systems that mask leads (:class:`LeadMasking`)."""

    lead_mask_probability: float = field(
        default=0.5, metadata={"help": "random lead masking: probability of zeroing each lead in training"}
    )
    lead_sets: Optional[str] = field(default=None, metadata={"help": LEAD_SETS_HELP})


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


class LeadMasking:
    """Which leads of its records training hides: :func:`random_lead_mask`, or all but those of a set that is drawn.

    Args:
        probability: of hiding each lead, at random.
        lead_sets: as ``task.lead_sets`` has it; None: at random, always.
        keep: bool ``[12]``, the leads that are not hidden anyway; None: all.

    Attributes:
        n_keys: numbers that a record's mask is a function of.

    Raises:
        DataError: ``lead_sets`` cannot be read, or a set has none of the leads that are left.
    """

    def __init__(self, probability: float, lead_sets: Optional[str] = None, keep: Optional[np.ndarray] = None):
        self.probability = probability
        self.keep = np.ones(len(LEADS), dtype=bool) if keep is None else keep
        self.names: list[str] = []
        self.n_keys = n_leads = int(self.keep.sum())
        if lead_sets is None:
            return
        self.n_keys += 2
        weights = _weights(lead_sets)
        self.names = list(weights)
        self._cumulative = np.cumsum(list(weights.values())) / math.fsum(weights.values())
        self._hidden = np.zeros((len(weights), n_leads), dtype=bool)
        for row, name in enumerate(self.names):
            if name == RANDOM and probability <= 0:
                raise DataError(f"task.lead_sets: {RANDOM} hides nothing with task.lead_mask_probability={probability}")
            if name not in (RANDOM, ANY):
                self._hidden[row] = ~self._shown(name)[self.keep]
                if self._hidden[row].all():
                    chosen = ", ".join(lead for lead, kept in zip(LEADS, self.keep) if kept)
                    raise DataError(f"task.lead_sets: {name} has none of the leads {chosen}, which task.leads chooses")

    @staticmethod
    def _shown(name: str) -> np.ndarray:
        try:
            return lead_keep_mask(parse_leads(name))
        except DataError as error:
            raise DataError(f"task.lead_sets, {name!r}: {error}; or all, limb, {RANDOM} or {ANY}") from None

    @property
    def masks(self) -> bool:
        """Whether anything is ever hidden by chance."""
        return bool(self.names) or self.probability > 0

    def __call__(self, uniforms: np.ndarray, ecg: Optional[torch.Tensor] = None) -> np.ndarray:
        """
        Args:
            uniforms: float ``[B, n_keys]`` in [0, 1).
            ecg: the records ``[B, 12, T]``. Of one that is zero in all leads that would be left nothing is hidden. None: no
                record is like that.

        Returns:
            bool ``[B, 12]``, True = to be zeroed; never all that are kept, nor all of these that have a signal.
        """
        mask = np.repeat(~self.keep[None, :], len(uniforms), axis=0)
        mask[:, self.keep] = self._outside_sets(uniforms) if self.names else random_lead_mask(uniforms, self.probability)
        hides_all = mask if ecg is None else mask | ~ecg.any(dim=-1).numpy()
        mask[hides_all.all(axis=1)] = ~self.keep
        return mask

    def _outside_sets(self, uniforms: np.ndarray) -> np.ndarray:
        """Of the leads that are kept those outside the set that each record draws."""
        lead_keys, set_key, size_key = uniforms[:, :-2], uniforms[:, -2], uniforms[:, -1]
        n_leads = lead_keys.shape[1]
        drawn = np.minimum(self._cumulative.searchsorted(set_key, side="right"), len(self.names) - 1)
        mask = self._hidden[drawn]
        for row, name in enumerate(self.names):
            if name == RANDOM:
                mask[drawn == row] = random_lead_mask(lead_keys[drawn == row], self.probability)
            if name == ANY:
                ranks = lead_keys[drawn == row].argsort(axis=1).argsort(axis=1)
                mask[drawn == row] = ranks > (size_key[drawn == row, None] * n_leads).astype(np.int64)
        return mask


def _weights(text: str) -> dict[str, float]:
    """``"all:0.5 I+II:0.1 any"`` → sets and their weights; one without a number has 1.

    Raises:
        DataError: it is anything else.
    """
    weights: dict[str, float] = {}
    for item in re.split(r"[\s,]+", str(text).strip()):
        name, colon, number = item.partition(":")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not name or name in weights or not (0 < weight < math.inf):
            raise DataError(
                f"task.lead_sets={str(text)[:200]!r}: {item!r} must be a set that is not named twice, and a number above 0 "
                "behind a colon, as in 'all:0.5 limb:0.2 I+II+V2:0.1 I:0.1 any:0.1'"
            )
        weights[name] = weight
    return weights


def add_lead_mask(batch: dict[str, Any], records: Records, masking: LeadMasking) -> None:
    """Add ``lead_mask`` (bool ``[B, 12]``, True = to be zeroed) to a batch's ``net_input``; where nothing is masked nothing."""
    if masking.masks:
        keys = np.stack([generator.random(masking.n_keys) for generator in records.generators])
        batch["net_input"]["lead_mask"] = torch.from_numpy(masking(keys, batch["net_input"]["ecg"]))
