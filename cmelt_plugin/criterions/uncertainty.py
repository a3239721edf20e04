"""Match losses of Gaussians, as a system's only loss or beside the contrastive loss of its means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Optional

import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.collapse import UncertaintyWatch
from cmelt_plugin.criterions.pretraining import Batch, LossTerm, PretrainingCriterion, Terms, of_batch
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.gather import sum_over_ranks
from cmelt_plugin.losses.pcmepp import LARGEST_VIB, Gaussian, match_loss_in_rows, vib
from cmelt_plugin.losses.prolip import inclusion_losses
from cmelt_plugin.modules.uncertainty import PROLIP

UNCERTAINTY = "uncertainty"
"""Name of the term of the loss."""
Logged = dict[str, tuple[Tensor, Tensor]]


class MatchOptions(NamedTuple):
    """What the match loss is made of; see :func:`cmelt_plugin.losses.pcmepp.match_loss_in_rows` for all but ``vib``.

    Attributes:
        vib: weight of the divergence of each Gaussian from the standard one.
    """

    duplicates: str
    pseudo: float
    vib: float
    distance: str = "sampled"
    chunk: int = 0


class PairKeys(NamedTuple):
    """Which of the pairs of a batch are duplicates of each other, and which are none.

    Attributes:
        first, second: int64 ``[B]``, of the two sides; equal ones match.
        aligned: bool ``[B]``, False where the second side is not the first one's own; None: all are.
    """

    first: Tensor
    second: Tensor
    aligned: Optional[Tensor] = None


def match(
    batch: Batch,
    sides: Mapping[str, Gaussian],
    keys: PairKeys,
    scale: Tensor,
    shift: Tensor,
    options: MatchOptions,
    watch: UncertaintyWatch,
) -> tuple[Tensor, Logged]:
    """Match losses of the two sides of pairs in both directions, and their regularisers, among the pairs of all ranks.

    Args:
        batch: the pairs' batch.
        sides: name → Gaussians of this rank, two of them.
        keys: see :class:`PairKeys`.
        scale, shift: a and b of the match logit b − a · distance.
        options: see :class:`MatchOptions`.
        watch: says so where uncertainties are all alike.

    Returns:
        The loss, summed over rows; and what is to be logged: ``scale`` and ``shift``; ``pseudo_positives`` of a record;
        ``SIDE_uncertainty``, Σσ², and ``SIDE_uncertainty_std``, its standard deviation in a batch (0: it says nothing of a
        record); ``vib_left_out``, regularisers that were too large.
    """
    first, second = sides.values()
    counted = torch.full_like(keys.first, 1 if batch.rows else 0)
    columns, offset = batch.gather(*first, *second, keys.first, keys.second, counted)
    first_mean, first_log_variance, second_mean, second_log_variance, first_keys, second_keys, all_counted = columns
    all_first, all_second = (first_mean, first_log_variance), (second_mean, second_log_variance)
    own_column = torch.arange(len(keys.first), device=keys.first.device) + offset
    further = all_counted, scale, shift, options.duplicates, options.pseudo, options.distance, options.chunk, keys.aligned
    ways = [
        match_loss_in_rows(first, all_second, keys.first, second_keys, own_column, *further),
        match_loss_in_rows(second, all_first, keys.second, first_keys, own_column, *further),
    ]
    loss = (ways[0][0] + ways[1][0]) / batch.rows_of_all_ranks.clamp(min=1)
    left_out = torch.zeros_like(loss.detach())
    rows = torch.full_like(left_out, float(len(keys.first)))
    logged: Logged = {}
    for side, gaussian in sides.items():
        divergence = vib(*gaussian)
        total = sum_over_ranks(divergence.detach().sum() * (1 if batch.rows else 0), batch.group)
        usable = total <= LARGEST_VIB * batch.rows_of_all_ranks
        loss = loss + options.vib * torch.where(usable, divergence.sum(), 0.0)
        left_out = left_out + (~usable).to(left_out.dtype)
        uncertainty = gaussian[1].detach().exp().sum(dim=1)
        logged[f"{side}_uncertainty"] = uncertainty.sum(), rows
        logged[f"{side}_uncertainty_std"] = of_batch(watch.add(side, uncertainty, batch.rows > 0))
    logged["scale"], logged["shift"], logged["vib_left_out"] = of_batch(scale), of_batch(shift), of_batch(left_out)
    logged["pseudo_positives"] = (ways[0][1] + ways[1][1]).to(rows.dtype), 2 * rows
    return loss, logged


@dataclass
class UncertaintyLossOptions(host.Dataclass):
    """Read where ``model.uncertainty`` is not ``none``; none of these values was tuned."""

    uncertainty_weight: float = field(
        default=1.0,
        metadata={"help": "model.uncertainty: weight of its loss beside the contrastive one; 0: left out"},
    )
    uncertainty_vib_weight: float = field(
        default=1e-4,
        metadata={"help": "model.uncertainty: weight of the divergence of each Gaussian from the standard one (PCME++: 1e-4)"},
    )
    uncertainty_pseudo_weight: float = field(
        default=0.1,
        metadata={"help": "model.uncertainty=pcmepp: weight of the match loss with pseudo-positives (PCME++: 0.1)"},
    )
    uncertainty_inclusion_weight: float = field(
        default=0.1,
        metadata={
            "help": "model.uncertainty=prolip: weight of each inclusion, the ECG in its report and in itself with fewer leads "
            "(ours)"
        },
    )
    uncertainty_hidden_share: float = field(
        default=0.125,
        metadata={
            "help": "model.uncertainty=prolip: share of a batch that is read once more with some leads hidden (ProLIP hides "
            "patches of an eighth of its images); 0: none"
        },
    )


class UncertaintyCriterion(PretrainingCriterion):
    """Base of criterions whose model may have variances beside its means (:mod:`cmelt_plugin.modules.uncertainty`)."""

    contrastive: ClassVar[str]
    """The term beside which the loss of variances is computed."""

    def __init__(self, cfg: Any, task: Any):
        """
        Raises:
            DataError: a setting has a value it cannot have.
        """
        super().__init__(cfg, task)
        self.uncertainty_watch = UncertaintyWatch()
        for name in ("weight", "vib_weight", "pseudo_weight", "inclusion_weight"):
            value = getattr(cfg, f"uncertainty_{name}")
            if not 0 <= value < float("inf"):
                raise DataError(f"criterion.uncertainty_{name} must be a number from 0 on, not {value!r}")
        if not 0 <= cfg.uncertainty_hidden_share <= 1:
            raise DataError(
                f"criterion.uncertainty_hidden_share must lie between 0 and 1, not {cfg.uncertainty_hidden_share!r}"
            )

    def with_uncertainty(self, terms: Terms) -> Terms:
        """The terms, and where the contrastive one is among them the loss of variances."""
        if terms.get(self.contrastive, (0.0,))[0] == 0:
            return terms
        return {**terms, UNCERTAINTY: (self.cfg.uncertainty_weight, self.uncertainty)}

    def model_options(self, sample: dict[str, Any], terms: Sequence[str]) -> dict[str, Any]:
        """A model that has variances gives them with what the contrastive loss reads; it is told how often to hide leads."""
        wanted = self.training and UNCERTAINTY in terms and self.cfg.uncertainty_inclusion_weight != 0
        hidden_share = self.cfg.uncertainty_hidden_share if wanted else 0.0
        return {"objectives": tuple(term for term in terms if term != UNCERTAINTY), "hidden_share": hidden_share}

    def pair_keys(self, sample: dict[str, Any]) -> PairKeys:
        """Reports of the pairs of a batch."""
        return PairKeys(sample["report_id"], sample["report_id"])

    def match_options(self) -> MatchOptions:
        """From the configuration of the system's criterion."""
        cfg = self.cfg
        return MatchOptions(cfg.duplicates, cfg.uncertainty_pseudo_weight, cfg.uncertainty_vib_weight)

    def uncertainty(self, batch: Batch) -> Optional[LossTerm]:
        """The match loss of ECG and report as Gaussians, and what their kind adds; None: the model has points.

        Logged as by :func:`match`, after ``match_``, and for ``prolip`` ``inclusion`` and ``hidden_inclusion``: ln 2 where
        neither of two Gaussians lies in the other.
        """
        output = batch.output
        if "ecg_log_variance" not in output:
            return None
        ecg, text = ((output[f"{side}_embedding"], output[f"{side}_log_variance"]) for side in ("ecg", "text"))
        keys, options = self.pair_keys(batch.sample), self.match_options()
        is_prolip = output["uncertainty_kind"] == PROLIP
        if is_prolip:
            options = options._replace(pseudo=0.0)
        sides = {"ecg": ecg, "text": text}
        scale, shift = output["match_scale"], output["match_shift"]
        loss, values = match(batch, sides, keys, scale, shift, options, self.uncertainty_watch)
        if is_prolip:
            values.pop("pseudo_positives")
            own = torch.ones_like(keys.first) if keys.aligned is None else keys.aligned
            inside = inclusion_losses(*ecg, *text) * own
            loss = loss + self.cfg.uncertainty_inclusion_weight * inside.sum()
            values["inclusion"] = inside.sum(), own.sum().to(inside.dtype)
            if "hidden_mean" in output:
                hidden = output["hidden_mean"], output["hidden_log_variance"]
                n_hidden = len(hidden[0])
                inside = inclusion_losses(ecg[0][:n_hidden], ecg[1][:n_hidden], *hidden)
                # As a mean over the records that were read twice, for every record of the batch.
                loss = loss + self.cfg.uncertainty_inclusion_weight * inside.mean() * len(keys.first)
                values["hidden_inclusion"] = inside.sum(), torch.full_like(inside[0], float(n_hidden))
        return LossTerm(loss, {f"match_{name}": value for name, value in values.items()})
