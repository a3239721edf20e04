"""Settings of a system whose embeddings are points and may be trained to be Gaussians."""

from dataclasses import dataclass, field
from typing import Any, Optional

from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.uncertainty import NONE, UNCERTAINTIES, UncertaintyHeads


@dataclass
class UncertaintyOptions:
    uncertainty: str = field(
        default="none",
        metadata={
            "help": "variances of embeddings, learned beside the contrastive loss: none; pcmepp (EchoingECG's head and the "
            "match loss of PCME++); or prolip (an uncertainty token, the match loss and the inclusion losses of ProLIP)"
        },
    )
    variance_init: float = field(
        default=0.25, metadata={"help": "uncertainty: sum of an embedding's variances at the start (ours)"}
    )


def uncertainty_heads(cfg: Any, dim: int, **widths: Any) -> Optional[UncertaintyHeads]:
    """The variances that a configuration asks for, or None.

    Args:
        cfg: with the settings of :class:`UncertaintyOptions`.
        dim: of the embeddings.
        widths: further arguments of :class:`~cmelt_plugin.modules.uncertainty.UncertaintyHeads`.

    Raises:
        DataError: there is no such kind, or variances that are none.
    """
    check_uncertainty(cfg)
    return None if cfg.uncertainty == NONE else UncertaintyHeads(cfg.uncertainty, dim, cfg.variance_init, **widths)


def check_uncertainty(cfg: Any) -> None:
    """Raises DataError as :func:`uncertainty_heads`."""
    if cfg.uncertainty not in UNCERTAINTIES:
        raise DataError(f"model.uncertainty must be one of {', '.join(UNCERTAINTIES)}, not {cfg.uncertainty!r}")
    if not 0 < cfg.variance_init < float("inf"):
        raise DataError(f"model.variance_init must be a positive number, not {cfg.variance_init!r}")
