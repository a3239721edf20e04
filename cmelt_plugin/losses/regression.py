"""The loss of a regression, a sum over records with their number, so that batches can be added up."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses.classification import Loss


def huber_loss(values: Tensor, target: Tensor, delta: float = 1.0) -> Loss:
    """Huber's loss (1964), ½ e² for errors e up to δ and δ (|e| − ½ δ) beyond, averaged over a record's known targets.

    Args:
        values: ``[B, C]``.
        target: ``[B, C]``, NaN = unknown.
        delta: δ, in the unit of the targets.

    Returns:
        The sum over records; one without any known target is not counted.
    """
    known = ~target.isnan()
    cells = F.huber_loss(values.float(), target.nan_to_num(0.0).float(), reduction="none", delta=delta)
    count = known.sum(dim=1)
    per_record = cells.masked_fill(~known, 0.0).sum(dim=1) / count.clamp(min=1)
    return Loss(per_record.sum(), (count > 0).sum())
