"""Base of the pre-training criterions: one forward pass, named terms of the loss, logging.

Convention, the host's: a criterion returns a *sum* over the rows of its batch and the number of rows as the sample
size; the trainer divides the gradients of all ranks by the sum of the sample sizes. Averages over something else (masked
words, masked tokens) use the count of **all** ranks, so that N ranks compute the loss of one process with the whole
batch, exactly. In validation every batch stands for itself, on one rank or many.

In training nothing here makes the CPU wait for a GPU: logged values stay tensors, numbers become tensors by filling
(``torch.full``), never by copying (``torch.tensor``).
"""

from collections.abc import Sequence
from typing import Any, Callable, ClassVar, NamedTuple, Optional

import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.base import COUNT, ROWS, SUM, LoggingCriterion, without_repeated_records
from cmelt_plugin.losses.gather import filled_up, gather_rows, row_counts, sum_over_ranks
from cmelt_plugin.losses.pairs import pair_labels


class Batch(NamedTuple):
    """A model's output beside the mini-batch it came from.

    Attributes:
        output: what the model returned.
        sample: the mini-batch.
        rows: rows of this rank that count; 0: the batch is repeated and its gradient thrown away.
        rows_of_all_ranks: their sum over ranks.
        group: process group when the loss spans ranks, else None.
        largest_batch: rows of the largest batch of any rank, where the task knows it.
    """

    output: dict[str, Any]
    sample: dict[str, Any]
    rows: int
    rows_of_all_ranks: Tensor
    group: Optional[Any]
    largest_batch: Optional[int] = None

    def mean_over_ranks(self, total: Tensor, count: Tensor) -> Tensor:
        """Turn this rank's sum over ``count`` items into its share of (mean over all ranks' items) × (all rows)."""
        all_items = sum_over_ranks(count.to(torch.float32), self.group).clamp(min=1)
        return total / all_items * self.rows_of_all_ranks

    def gather(self, *columns: Tensor) -> tuple[list[Tensor], int]:
        """Each of ``columns [B, …]`` with the rows of all ranks, differentiable, and where this rank's own rows begin.

        Where the size of the largest batch is known, smaller ones are filled up with zeros: their real sizes would have to
        be asked for, and the CPU would wait for the answer.
        """
        if self.group is None:
            return list(columns), 0
        rank = torch.distributed.get_rank(self.group)
        if self.largest_batch is None:
            counts = row_counts(len(columns[0]), columns[0].device, self.group)
        else:
            counts = [self.largest_batch] * torch.distributed.get_world_size(self.group)
            columns = tuple(filled_up(column, self.largest_batch) for column in columns)
        return [gather_rows(column, counts, self.group) for column in columns], sum(counts[:rank])

    def gather_pairs(self, key: Tensor, duplicates: str, *columns: Tensor) -> tuple[list[Tensor], Tensor]:
        """:meth:`gather` of the two sides of pairs, and what this rank's pairs are beside those of all ranks.

        Args:
            key: int64 ``[B]``; pairs of equal keys are duplicates of each other.
            duplicates: what those are, see :func:`cmelt_plugin.losses.pairs.pair_labels`.
            columns: ``[B, …]``.

        Returns:
            The columns with M rows; and labels ``[B, M]``, 0 = left out, as rows are that count nowhere.
        """
        counted = torch.full_like(key, 1 if self.rows else 0)
        (*gathered, all_keys, all_counted), offset = self.gather(*columns, key, counted)
        own_column = torch.arange(len(key), device=key.device) + offset
        labels = pair_labels(key, all_keys, own_column, torch.ones_like(key, dtype=torch.bool), duplicates)
        return gathered, labels.masked_fill(all_counted[None, :] == 0, 0.0)


def of_batch(value: Tensor) -> tuple[Tensor, Tensor]:
    """A value to log that belongs to a batch as a whole: its (sum, count)."""
    return value, torch.ones((), device=value.device)


class LossTerm(NamedTuple):
    """One loss.

    Attributes:
        loss: scalar, summed over rows.
        logged: name → (sum, count) of averages to log.
        rows: that it is of; None: all rows of the batch.
    """

    loss: Tensor
    logged: dict[str, tuple[Tensor, Tensor]]
    rows: Optional[Tensor] = None


Terms = dict[str, tuple[float, Callable[[Batch], Optional[LossTerm]]]]


class PretrainingCriterion(LoggingCriterion):
    """The weighted sum of :meth:`terms`; those of weight 0 are not computed."""

    only: ClassVar[Optional[str]] = None
    """The one term of a criterion that has one."""

    def terms(self) -> Terms:
        """Name → weight and function of every term of the loss; a function returns None where the model lacks its input."""
        raise NotImplementedError

    def weighted(self, **functions: Callable[[Batch], LossTerm]) -> Terms:
        """The functions with the weights ``NAME_weight`` of the configuration; the :attr:`only` one with 1."""
        if self.only is not None:
            return {self.only: (1.0, functions[self.only])}
        return {name: (getattr(self.cfg, f"{name}_weight"), function) for name, function in functions.items()}

    def computed_terms(self) -> Terms:
        """Those whose weight is not 0."""
        return {name: term for name, term in self.terms().items() if term[0] != 0}

    def model_options(self, sample: dict[str, Any], terms: Sequence[str]) -> dict[str, Any]:
        """What the model is told beside ``net_input``, e.g. which of its outputs the named terms read."""
        return {}

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss summed over rows, number of rows, values to log."""
        terms = self.computed_terms()
        sample = without_repeated_records(model, sample)
        output = model(**sample["net_input"], **self.model_options(sample, tuple(terms)))
        # A rank that ran out of batches repeats one whose gradient is thrown away; its rows count nowhere.
        rows = 0 if sample.get("ignore_grad") else sample["id"].numel()
        group = host.data_parallel_group() if self.training else None
        all_rows = sum_over_ranks(torch.full((), float(rows), device=sample["id"].device), group)
        batch = Batch(output, sample, rows, all_rows, group, getattr(self.task, "training_batch_size", None))

        total: Any = 0.0
        log: dict[str, Any] = {}
        for name, (weight, function) in terms.items():
            term = function(batch)
            if term is None:
                continue
            total = total + weight * term.loss
            log[f"loss_{name}"] = term.loss.detach()
            if term.rows is not None:
                log[f"{ROWS}{name}"] = term.rows
            for key, (value, count) in term.logged.items():
                log[f"{key}{SUM}"], log[f"{key}{COUNT}"] = value.detach(), count.detach()
        log["loss"] = total.detach()
        if rows == 0:
            log = {key: torch.zeros_like(value) for key, value in log.items()}
        if not self.training:  # logged values travel through pickles there, and nothing is to be kept waiting
            log = {key: value.item() for key, value in log.items()}
        log.update(sample_size=rows, nsentences=rows, nsignals=rows, ntokens=sample["ntokens"] if rows else 0)
        return total, rows, log
