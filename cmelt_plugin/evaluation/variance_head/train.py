"""Training of variances for frozen means.

Three losses. ``likelihood``: each mean's Gaussian shall make the mean beside it likely (ProbVLM's idea, Upadhyay et al. 2023,
with normal distributions), so that the variance of a recording is the distance to its report that is to be expected.
``pcmepp``: the match loss of PCME++ (:mod:`cmelt_plugin.losses.pcmepp`), as in training with variances, but only variances,
scale and shift are learned. ``prolip``: the same with two inclusions of :mod:`cmelt_plugin.losses.prolip`: a recording lies
inside its report, which says less than it, and inside itself without some leads.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.pcmepp import Gaussian, match_loss_in_rows, vib
from cmelt_plugin.losses.prolip import inclusion_loss
from cmelt_plugin.models.inference.variances import VarianceHeads

LIKELIHOOD, PCMEPP, PROLIP = "likelihood", "pcmepp", "prolip"
LOSSES = (LIKELIHOOD, PCMEPP, PROLIP)
START = 5.0
"""Scale and shift at the start, as in PCME++."""
FEWEST = 2
"""Pairs that training and validation need each: a single one has none that does not match."""


class Pairs(NamedTuple):
    """N recordings with reports.

    Attributes:
        features: float32 ``[N, W]``, pooled.
        fewer: float32 ``[N, W]``, of the same without some leads; None: not made.
        ecg: float32 ``[N, D]``, means of the recordings.
        text: float32 ``[U, D]``, means of the reports.
        report: int64 ``[N]``, row of each one's report.
    """

    features: Tensor
    fewer: Tensor | None
    ecg: Tensor
    text: Tensor
    report: Tensor


class HeadSettings(NamedTuple):
    """How heads are trained; nothing of it was tuned.

    Attributes:
        loss: one of :data:`LOSSES`.
        hidden: width of the hidden layers.
        epochs, batch_size, learning_rate: of Adam; the epoch of the lowest validation loss is kept.
        vib: weight of the pull of variances to one.
        inclusion: weight of each inclusion of ``prolip``.
        pseudo: weight of the loss with pseudo-positives of ``pcmepp``.
        seed: of weights and order.
    """

    loss: str = LIKELIHOOD
    hidden: int = 256
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    vib: float = 1e-4
    inclusion: float = 0.1
    pseudo: float = 0.1
    seed: int = 0


class TrainedHeads(NamedTuple):
    """Heads and what they gain.

    Attributes:
        heads: of the best epoch.
        epoch: that one, from 1.
        loss: of a pair on validation data: minus the log-likelihood, or the match loss.
        constant_loss: the same with variances that are the same for all.
        scale, shift: of the logits.
    """

    heads: VarianceHeads
    epoch: int
    loss: float
    constant_loss: float
    scale: float
    shift: float


def train_heads(train: Pairs, valid: Pairs, settings: HeadSettings) -> TrainedHeads:
    """Train heads on pairs; ``valid`` chooses the epoch.

    Raises:
        DataError: there are fewer than :data:`FEWEST` of either.
    """
    for what, pairs in (("training", train), ("validation", valid)):
        if len(pairs.report) < FEWEST:
            found = f"{what}: recordings with a report: {len(pairs.report)}, {FEWEST} are needed at least"
            raise DataError(f"{found}; take a split with more of them (--split, --valid)")
    torch.manual_seed(settings.seed)
    heads = VarianceHeads(train.features.shape[1], train.ecg.shape[1], settings.hidden)
    constant = _fit(train, valid, heads, settings, learn_variances=False)
    best = _fit(train, valid, heads, settings, learn_variances=True)
    return TrainedHeads(best[0], best[1], best[2], constant[2], best[3], best[4])


def gaussians(heads: VarianceHeads, pairs: Pairs, rows: Tensor) -> tuple[Gaussian, Gaussian]:
    """Recordings and reports of some pairs as Gaussians."""
    means = pairs.text[pairs.report[rows]]
    return (pairs.ecg[rows], heads.ecg(pairs.features[rows])), (means, heads.text(means))


def pair_loss(ecg: Gaussian, text: Gaussian, key: Tensor, scale: Tensor, shift: Tensor, pseudo: float = 0.0) -> Tensor:
    """The match loss of a batch, both directions, as a mean over all pairs in it; ``key [B]``: equal ones match, too."""
    own, counted = torch.arange(len(key)), torch.ones(len(key), dtype=torch.long)
    forward, _ = match_loss_in_rows(ecg, text, key, key, own, counted, scale, shift, pseudo_weight=pseudo)
    backward, _ = match_loss_in_rows(text, ecg, key, key, own, counted, scale, shift, pseudo_weight=pseudo)
    return (forward + backward) / (2 * len(key) ** 2 * (1 + pseudo))


def pair_likelihood(ecg: Gaussian, text: Gaussian) -> Tensor:
    """Minus the log-density of each mean under the Gaussian beside it, but for a constant: mean over pairs and dimensions."""
    squared = (ecg[0] - text[0]).square()
    sides = [(squared * (-log_variance).exp() + log_variance) / 2 for _, log_variance in (ecg, text)]
    return torch.stack(sides).mean()


def _fit(
    train: Pairs, valid: Pairs, heads: VarianceHeads, settings: HeadSettings, learn_variances: bool
) -> tuple[VarianceHeads, int, float, float, float]:
    """Heads, epoch, validation loss, scale and shift of the best epoch; ``heads`` stay as they are.

    Without ``learn_variances`` only the last bias of each head is learned, which is the same for all records.
    """
    heads = copy.deepcopy(heads)
    log_scale = torch.tensor(START).log().requires_grad_()
    shift = torch.tensor(START).requires_grad_()
    of_heads = heads.parameters() if learn_variances else (heads.ecg.outer.bias, heads.text.outer.bias)
    optimiser = torch.optim.Adam([*of_heads, log_scale, shift], lr=settings.learning_rate)
    order = np.random.default_rng(settings.seed)
    best = (heads, 0, float("inf"), START, START)
    for epoch in range(1, settings.epochs + 1):
        heads.train()
        shuffled = torch.from_numpy(order.permutation(len(train.report)))
        for rows in shuffled.split(settings.batch_size):
            if len(rows) < 2:
                continue
            loss = _step_loss(heads, train, rows, log_scale.exp(), shift, settings)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        value = validation_loss(heads, valid, log_scale.exp(), shift, settings)
        if value < best[2]:
            best = (copy.deepcopy(heads).eval(), epoch, value, float(log_scale.detach().exp()), float(shift.detach()))
    return best


def _step_loss(
    heads: VarianceHeads, pairs: Pairs, rows: Tensor, scale: Tensor, shift: Tensor, settings: HeadSettings
) -> Tensor:
    ecg, text = gaussians(heads, pairs, rows)
    if settings.loss == LIKELIHOOD:
        return pair_likelihood(ecg, text)
    pseudo = settings.pseudo if settings.loss == PCMEPP else 0.0
    loss = pair_loss(ecg, text, pairs.report[rows], scale, shift, pseudo)
    loss = loss + settings.vib * (vib(*ecg).mean() + vib(*text).mean())
    if settings.loss == PROLIP:
        loss = loss + settings.inclusion * inclusion_loss(*ecg, *text)
        if pairs.fewer is not None:
            # The mean without the leads is not known here: the recording's own stands for it.
            fewer = pairs.ecg[rows], heads.ecg(pairs.fewer[rows])
            loss = loss + settings.inclusion * inclusion_loss(*ecg, *fewer)
    return loss


@torch.no_grad()
def validation_loss(heads: VarianceHeads, pairs: Pairs, scale: Tensor, shift: Tensor, settings: HeadSettings) -> float:
    """Mean loss of a pair in batches in a fixed order, without what only regularises."""
    heads.eval()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(pairs.report)))
    losses = []
    for rows in order.split(settings.batch_size):
        if len(rows) > 1:
            ecg, text = gaussians(heads, pairs, rows)
            likelihood = settings.loss == LIKELIHOOD
            losses.append(pair_likelihood(ecg, text) if likelihood else pair_loss(ecg, text, pairs.report[rows], scale, shift))
    return float(torch.stack(losses).mean())
