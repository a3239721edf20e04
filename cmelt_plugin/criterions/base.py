"""What all pre-training criteria share: one forward pass, named parts of the loss, logging.

Convention, the host's: a criterion returns a *sum* over the rows of its batch and the number of rows as the sample
size; the trainer divides the gradients of all ranks by the sum of the sample sizes. Averages over something else (masked
words, masked tokens) use the count of **all** ranks, so that N ranks compute the loss of one process with the whole
batch, exactly. In validation every batch stands for itself, on one rank or many.

In training nothing here makes the CPU wait for a GPU: logged values stay tensors, numbers become tensors by filling
(``torch.full``), never by copying (``torch.tensor``).
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.losses.gather import filled_up, gather_rows, row_counts, sum_over_ranks

FIGURE = "figure/"  # prefix of values that hold for a whole validation subset, not for one batch


class Batch(NamedTuple):
    """A model's output beside the sample it came from.

    Attributes:
        out: what the model returned.
        sample: the mini-batch.
        n_rows: rows of this rank that count.
        n_rows_total: rows of all ranks.
        group: process group when the loss spans ranks, else None.
        most_rows: rows of the largest batch of any rank, where the task knows it.
    """

    out: dict[str, Any]
    sample: dict[str, Any]
    n_rows: int
    n_rows_total: Tensor
    group: Optional[Any]
    most_rows: Optional[int] = None

    def mean_over_ranks(self, total: Tensor, count: Tensor) -> Tensor:
        """Turn this rank's sum over ``count`` items into its share of (mean over all ranks' items) × (all rows)."""
        all_items = sum_over_ranks(count.to(torch.float32), self.group).clamp(min=1)
        return total / all_items * self.n_rows_total


class Part(NamedTuple):
    """One loss: its value (summed over rows) and what is logged beside it as ``name: (sum, count)``."""

    loss: Tensor
    logged: dict[str, tuple[Tensor, Tensor]]


class PretrainingCriterion(host.Criterion):
    """Base of the criteria; a subclass names its ``weights`` and computes each part in ``part_<name>``."""

    def __init__(self, cfg: Any, task: Any):
        super().__init__(task)
        self.cfg = cfg

    def parts(self) -> dict[str, tuple[float, Any]]:
        """Weight and function of every part of the loss."""
        raise NotImplementedError

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss summed over rows, number of rows, values to log."""
        parts = {name: entry for name, entry in self.parts().items() if entry[0] != 0}
        options: dict[str, Any] = {"objectives": tuple(parts)}
        if "mlm" in parts and "mlm_target" in sample:
            options["n_masked_words"] = len(sample["mlm_target"])
        out = model(**sample["net_input"], **options)
        device = sample["id"].device
        # A rank that ran out of batches repeats one whose gradient is thrown away; its rows count nowhere.
        n_rows = 0 if sample.get("ignore_grad") else sample["id"].numel()
        group = host.data_parallel_group() if self.training else None
        total_rows = sum_over_ranks(torch.full((), float(n_rows), device=device), group)
        batch = Batch(out, sample, n_rows, total_rows, group, getattr(self.task, "training_batch_size", None))

        total: Any = 0.0
        log: dict[str, Any] = {}
        for name, (weight, function) in parts.items():
            part: Part = function(batch)
            total = total + weight * part.loss
            log[f"loss_{name}"] = part.loss.detach()
            for key, (value, count) in part.logged.items():
                log[f"{key}/sum"], log[f"{key}/count"] = value.detach(), count.detach()
        log["loss"] = total.detach()
        log["ntokens"] = (~sample["net_input"]["text_padding_mask"]).sum()
        if n_rows == 0:
            log = {key: torch.zeros_like(value) for key, value in log.items()}
        log.update({"sample_size": n_rows, "nsentences": n_rows, "nsignals": n_rows})
        if not self.training:  # logged values travel through pickles there, and nothing is to be kept waiting
            log = {key: value.item() if torch.is_tensor(value) else value for key, value in log.items()}
        return total, n_rows, log

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]], prefix: Optional[str] = None) -> None:
        """Averages over batches and ranks."""

        def summed(key: str) -> Any:
            return sum(log[key] for log in logging_outputs if key in log)

        keys = {key for log in logging_outputs for key in log}
        rows = summed("sample_size")
        for key in sorted(keys):
            if key == "loss" or key.startswith("loss_"):
                if rows > 0:
                    priority = 10 if key == "loss" else 20
                    host.metrics.log_scalar(key, summed(key) / rows, rows, priority=priority, round=4)
            elif key.endswith("/sum"):
                name = key[: -len("/sum")]
                count = summed(f"{name}/count")
                if count > 0:
                    host.metrics.log_scalar(name, summed(key) / count, count, priority=30, round=4)
            elif key.startswith(FIGURE):
                count = summed("figures")  # how many ranks report it
                if count > 0:
                    host.metrics.log_scalar(key[len(FIGURE) :], summed(key) / count, 1, priority=40, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


def gathered(batch: Batch, *rows: Tensor) -> tuple[list[Tensor], int]:
    """Each of ``rows`` from all ranks, and the column at which this rank's own begin.

    Where the size of the largest batch is known, smaller ones are filled up with zeros: their real sizes would have to
    be asked for, and the CPU would wait for the answer.
    """
    if batch.group is None:
        return list(rows), 0
    rank = torch.distributed.get_rank(batch.group)
    if batch.most_rows is None:
        counts = row_counts(len(rows[0]), rows[0].device, batch.group)
    else:
        counts = [batch.most_rows] * torch.distributed.get_world_size(batch.group)
        rows = tuple(filled_up(row, batch.most_rows) for row in rows)
    return [gather_rows(row, counts, batch.group) for row in rows], sum(counts[:rank])
