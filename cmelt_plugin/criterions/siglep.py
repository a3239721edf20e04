"""``cmelt_siglep``: the sigmoid contrastive loss alone, over the texts of all ranks."""

import torch

from cmelt_plugin import host
from cmelt_plugin.criterions.base import Batch, Part, PretrainingCriterion, gathered
from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses import siglep_loss_in_rows

REDUCTIONS = ("equation", "mean")


def siglep_part(batch: Batch, duplicates: str = "ignore", rows: int = 0, reduction: str = "equation") -> Part:
    """This rank's ECGs, ``rows`` at a time (0: all), against the texts of all ranks.

    ``equation``: equation 4, the sum over all B² pairs divided by B. ``mean``: divided by B², as the authors' release does.
    B counts the pairs of all ranks.

    Raises:
        DataError: another ``reduction``.
    """
    if reduction not in REDUCTIONS:
        raise DataError(f"siglep_reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}")
    out, sample = batch.out, batch.sample
    counted = torch.full_like(sample["text_report_id"], 1 if batch.n_rows else 0)
    (text, text_report, column_counts), offset = gathered(batch, out["text_embedding"], sample["text_report_id"], counted)
    ecg = out["ecg_embedding"]
    own_column = torch.arange(len(ecg), device=ecg.device) + offset
    loss = siglep_loss_in_rows(
        ecg,
        text,
        sample["report_id"],
        text_report,
        own_column,
        sample["aligned"],
        column_counts,
        duplicates,
        out["logit_scale"],
        out["logit_bias"],
        rows,
    )
    if reduction == "mean":
        loss = loss / batch.n_rows_total.clamp(min=1)
    one = torch.ones((), device=ecg.device)
    return Part(loss, {"logit_scale": (out["logit_scale"], one)})


def siglep_options(cfg: CriterionConfig) -> tuple[str, int, str]:
    """What :func:`siglep_part` takes from a configuration, in its order."""
    return cfg.duplicates, cfg.siglep_chunk, cfg.siglep_reduction


@host.register_criterion("cmelt_siglep", dataclass=CriterionConfig)
class SiglepCriterion(PretrainingCriterion):
    """Equation 4 of the paper."""

    def parts(self):
        return {"siglep": (1.0, lambda batch: siglep_part(batch, *siglep_options(self.cfg)))}
