"""PCME++: the match loss between Gaussians (Chun, ICLR 2024, arXiv 2305.18171), with the distances it may rest on.

Gaussians have diagonal covariances and are given by mean and *log-variance*. Everything is computed in float32, or in the
arguments' precision where that is wider, also under autocast: exponentials and differences of unit vectors need it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cmelt_plugin.losses.pairs import pair_labels

Gaussian = tuple[Tensor, Tensor]
"""Means and log-variances, ``[B, D]`` each."""
LARGEST_VIB = 1e4
"""Above it the regulariser of one modality is left out of a step."""


def _wide(*tensors: Tensor) -> list[Tensor]:
    """The tensors in float32, or wider where they are."""
    return [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]


def _squared_distance(a: Tensor, b: Tensor, more_a: Tensor | float = 0.0, more_b: Tensor | float = 0.0) -> Tensor:
    """‖aᵢ − bⱼ‖² + more_aᵢ + more_bⱼ: ``[A, B]``."""
    sums = (a.square().sum(1) + more_a)[:, None] + (b.square().sum(1) + more_b)
    return torch.addmm(sums, a, b.T, alpha=-2.0)


def sampled_distance(mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor) -> Tensor:
    """The closed-form sampled distance E‖Zᵢ − Zⱼ‖² of independent Gaussians (equation 1): ‖μᵢ − μⱼ‖² + Σσᵢ² + Σσⱼ².

    Args:
        mean_a, log_variance_a: ``[A, D]``.
        mean_b, log_variance_b: ``[B, D]``.

    Returns:
        ``[A, B]``.
    """
    with torch.autocast(mean_a.device.type, enabled=False):
        mean_a, log_variance_a, mean_b, log_variance_b = _wide(mean_a, log_variance_a, mean_b, log_variance_b)
        return _squared_distance(mean_a, mean_b, log_variance_a.exp().sum(1), log_variance_b.exp().sum(1))


def wasserstein_distance(mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor) -> Tensor:
    """The squared 2-Wasserstein distance ‖μᵢ − μⱼ‖² + ‖σᵢ − σⱼ‖²; arguments as :func:`sampled_distance`."""
    with torch.autocast(mean_a.device.type, enabled=False):
        mean_a, log_variance_a, mean_b, log_variance_b = _wide(mean_a, log_variance_a, mean_b, log_variance_b)
        deviations = _squared_distance((log_variance_a / 2).exp(), (log_variance_b / 2).exp())
        return _squared_distance(mean_a, mean_b) + deviations


DISTANCES = {"sampled": sampled_distance, "wasserstein": wasserstein_distance}


def pseudo_positive_targets(logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
    """``targets [A, B]`` with pseudo-positives (§3.3): pairs that look at least as alike as the positive of their row.

    That is the row's first largest target, which they get too. A row without a positive stays as it is. Arguments as
    :func:`match_loss`.
    """
    best, first = targets.max(dim=1, keepdim=True)
    pseudo = (logits >= logits.gather(1, first)) & (best > 0)
    return torch.where(pseudo if counted is None else pseudo & counted, best, targets)


def match_loss(logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of all pairs, Σ of softplus(l) − M · l (equation 3, of which the paper takes the mean).

    Args:
        logits: ``[A, B]``, b − a · distance.
        targets: ``[A, B]``, M between 0 and 1.
        counted: bool ``[A, B]``, False = a pair that is left out; None: all count.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return losses.sum() if counted is None else (losses * counted).sum()


def match_loss_in_rows(
    rows: Gaussian,
    columns: Gaussian,
    row_key: Tensor,
    column_key: Tensor,
    own_column: Tensor,
    counted: Tensor,
    scale: Tensor,
    shift: Tensor,
    duplicates: str = "positive",
    pseudo_weight: float = 0.1,
    distance: str = "sampled",
    chunk: int = 0,
    aligned: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One direction of the loss of the pairs of this rank: every row against the columns of all ranks.

    ``chunk`` rows at a time, so that no ``[B, M]`` matrix is ever whole; they are then computed again in the backward pass.

    Args:
        rows: B Gaussians.
        columns: M Gaussians.
        row_key, column_key: int64 ``[B]`` and ``[M]``; pairs of equal keys are duplicates of each other.
        own_column: int64 ``[B]``, the column of each row's own pair.
        counted: ``[M]`` integers, 0 = a column that counts nowhere.
        scale, shift: a and b of the logits b − a · distance.
        duplicates: what other pairs of equal keys are, see :func:`cmelt_plugin.losses.pairs.pair_labels`.
        pseudo_weight: of the loss with pseudo-positive targets (α).
        distance: one of :data:`DISTANCES`.
        chunk: rows at a time; 0: all.
        aligned: bool ``[B]``, False where a row's own pair is no positive; None: all are.

    Returns:
        Σ over pairs of both losses, and how many pseudo-positives are no positives.
    """

    def part(mean: Tensor, log_variance: Tensor, key: Tensor, column: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
        labels = pair_labels(key, column_key, column, positive, duplicates)
        kept = (labels != 0) & (counted != 0)
        with torch.autocast(mean.device.type, enabled=False):
            logits = shift - scale * DISTANCES[distance](mean, log_variance, *columns)
            targets = ((labels > 0) & kept).to(logits.dtype)
            pseudo = pseudo_positive_targets(logits.detach(), targets, kept)
            n_pseudo = (pseudo != targets).sum()
            # The loss is linear in its targets: one pass serves both kinds.
            whole = 1 + pseudo_weight
            loss = whole * match_loss(logits, targets.lerp_(pseudo, pseudo_weight / whole), kept)
        return loss, n_pseudo

    if aligned is None:
        aligned = torch.ones_like(row_key, dtype=torch.bool)
    pieces = [rows[0], rows[1], row_key, own_column, aligned]
    if chunk <= 0 or chunk >= len(row_key):
        return part(*pieces)
    split = zip(*(piece.split(chunk) for piece in pieces))
    if torch.is_grad_enabled():
        parts = [checkpoint(part, *piece, use_reentrant=False, preserve_rng_state=False) for piece in split]
    else:
        parts = [part(*piece) for piece in split]
    losses, n_pseudo = zip(*parts)
    return torch.stack(losses).sum(), torch.stack(n_pseudo).sum()


def vib(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of each Gaussian from the standard one, as a mean over dimensions (equation 5): ``[B, D]`` → ``[B]``."""
    with torch.autocast(mean.device.type, enabled=False):
        mean, log_variance = _wide(mean, log_variance)
        return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean(dim=1)
