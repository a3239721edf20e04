"""What all criterions share: checked settings, and how logged values are averaged over batches and ranks."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Optional

import torch

from cmelt_plugin import host
from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.ecg.length_batch_norm import LengthBatchNorm

METRIC = "metric/"
"""Prefix of values that hold for a whole validation split, not for one batch."""
METRIC_RANKS = "metric_ranks"
"""Under this name a rank that logs such values logs 1."""
SUM, COUNT = "/sum", "/count"
"""Endings of the two values that make up an average over something else than rows."""
ROWS = "rows_"
"""Before the name of a loss that not every batch has: the rows it is of."""


def without_repeated_records(model: torch.nn.Module, sample: dict[str, Any]) -> dict[str, Any]:
    """A batch that a rank repeats, whose gradient is thrown away, with records that enter no batch statistics of ``model``.

    Other batches, and those of a model that takes no such statistics, stay as they are.
    """
    if not sample.get("ignore_grad") or not any(isinstance(module, LengthBatchNorm) for module in model.modules()):
        return sample
    none = torch.zeros_like(sample["id"])
    return {**sample, "net_input": {**sample["net_input"], "n_samples": none}}


class LoggingCriterion(host.Criterion):
    """A criterion whose log holds sums, which the hosts may add up over ranks.

    ``loss`` and ``loss_…`` are sums over ``sample_size`` rows, or over ``rows_…`` where that is there; ``NAME/sum`` and
    ``NAME/count`` make up the average NAME.
    """

    choices: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Setting → its values, where these are words."""

    def __init__(self, cfg: Any, task: Any):
        """
        Raises:
            DataError: a setting has a value that is none of :attr:`choices`.
        """
        super().__init__(task)
        self.cfg = cfg
        for name, choices in self.choices.items():
            if getattr(cfg, name) not in choices:
                raise DataError(f"criterion.{name} must be one of {', '.join(choices)}, not {getattr(cfg, name)!r}")

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]], prefix: Optional[str] = None) -> None:
        """Averages over batches and ranks, handed to the host."""

        def summed(key: str) -> Any:
            return sum(log[key] for log in logging_outputs if key in log)

        keys = {key for log in logging_outputs for key in log}
        rows = summed("sample_size")
        for key in sorted(keys):
            if key == "loss" or key.startswith("loss_"):
                own = f"{ROWS}{key[len('loss_') :]}"
                count = summed(own) if own in keys else rows
                if count > 0:
                    priority = 10 if key == "loss" else 20
                    host.metrics.log_scalar(key, summed(key) / count, count, priority=priority, round=4)
            elif key.endswith(SUM):
                name = key[: -len(SUM)]
                count = summed(f"{name}{COUNT}")
                if count > 0:
                    host.metrics.log_scalar(name, summed(key) / count, count, priority=30, round=4)
            elif key.startswith(METRIC):
                ranks = summed(METRIC_RANKS)
                if ranks > 0:
                    host.metrics.log_scalar(key[len(METRIC) :], summed(key) / ranks, 1, priority=40, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
