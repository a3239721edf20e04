"""The sentences of all reports of a batch as N columns of a matrix, and what is done to the columns of each report.

Reports have different numbers of sentences. On a CPU the real ones alone are columns: first those that open a report, then the
second ones, and so on, with the longest reports first throughout, so that the columns of a place are the first of those of the
place before and no index is needed. Elsewhere padding has columns, too, because the CPU would wait to be told how many
sentences there are. Values are ``[…, N]``, those of reports ``[…, B]`` in the order of the columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

PACKING_DEVICES = ("cpu",)
"""Where padding has no columns."""


class PaddedColumns:
    """Every place of every report is a column, place by place.

    Args:
        padding_mask: ``[B, S]`` bool, True = padding.
    """

    def __init__(self, padding_mask: Tensor):
        self.padding = padding_mask.T

    def of(self, sentences: Tensor) -> Tensor:
        """``[B, S, E]`` → ``[N, E]``."""
        return sentences.transpose(0, 1).flatten(0, 1)

    def reports(self, values: Tensor) -> Tensor:
        """``[…, B]`` of the columns' order → that of the batch."""
        return values

    def total(self, values: Tensor) -> Tensor:
        """Sums over the real sentences of each report."""
        return self._by_place(values).masked_fill(self.padding, 0.0).sum(dim=-2)

    def softmax(self, values: Tensor) -> Tensor:
        """Softmax over the real sentences of each report."""
        hidden = self._by_place(values).masked_fill(self.padding, torch.finfo(values.dtype).min)
        return hidden.softmax(dim=-2).flatten(-2)

    def times(self, values: Tensor, factors: Tensor) -> Tensor:
        """Values times what is ``[…, B]`` of their reports; 0 at padding."""
        return (self._by_place(values) * factors.unsqueeze(-2)).masked_fill(self.padding, 0.0).flatten(-2)

    def take(self, values: Tensor) -> Tensor:
        """``[…, B, S]`` → ``[…, N]``."""
        return values.transpose(-1, -2).flatten(-2)

    def lay_out(self, values: Tensor) -> Tensor:
        """``[…, N]`` → ``[…, B, S]``, 0 at padding."""
        return self._by_place(values).masked_fill(self.padding, 0.0).transpose(-1, -2)

    def _by_place(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, self.padding.shape)


class PackedColumns:
    """Real sentences alone are columns; methods as :class:`PaddedColumns`, where nothing is padding.

    Args:
        padding_mask: ``[B, S]`` bool, True = padding.
    """

    def __init__(self, padding_mask: Tensor):
        n_sentences = (~padding_mask).sum(dim=1)
        order = n_sentences.argsort(descending=True, stable=True)
        places = torch.arange(padding_mask.shape[1], device=padding_mask.device)
        self.widths = (n_sentences > places[:, None]).sum(dim=1).tolist()
        self.shape = padding_mask.shape
        # Places need not be those before padding: within a report the real ones come in their order.
        place = padding_mask.to(torch.int8).argsort(dim=1, stable=True)
        rows = order[:, None] * self.shape[1] + place[order]
        self.rows = torch.cat([rows[:width, number] for number, width in enumerate(self.widths)])
        self.position = order.argsort()

    def of(self, sentences: Tensor) -> Tensor:
        return sentences.flatten(0, 1).index_select(0, self.rows)

    def reports(self, values: Tensor) -> Tensor:
        return values.index_select(-1, self.position)

    def total(self, values: Tensor) -> Tensor:
        first, *others = values.split(self.widths, dim=-1)
        result = first.clone()
        for part in others:
            result[..., : part.shape[-1]] += part
        return result

    def softmax(self, values: Tensor) -> Tensor:
        parts = values.split(self.widths, dim=-1)
        largest = parts[0].detach().clone()  # a constant as far as gradients go
        for part in parts[1:]:
            of_place = largest[..., : part.shape[-1]]
            torch.maximum(of_place, part.detach(), out=of_place)
        shares = torch.cat([part - largest[..., : part.shape[-1]] for part in parts], dim=-1).exp_()
        return self.times(shares, self.total(shares).reciprocal_())

    def times(self, values: Tensor, factors: Tensor) -> Tensor:
        parts = values.split(self.widths, dim=-1)
        return torch.cat([part * factors[..., : part.shape[-1]] for part in parts], dim=-1)

    def take(self, values: Tensor) -> Tensor:
        return values.flatten(-2).index_select(-1, self.rows)

    def lay_out(self, values: Tensor) -> Tensor:
        laid_out = values.new_zeros(*values.shape[:-1], self.shape.numel())
        return laid_out.index_copy_(-1, self.rows, values).unflatten(-1, self.shape)


def columns_of(padding_mask: Tensor) -> PaddedColumns | PackedColumns:
    """The columns of sentences with ``padding_mask [B, S]`` (True = padding), of which every report has one that is real."""
    return (PackedColumns if padding_mask.device.type in PACKING_DEVICES else PaddedColumns)(padding_mask)
