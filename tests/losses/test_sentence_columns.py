"""Sums and softmaxes over the sentences of each report, of columns with and without padding, against loops."""

from __future__ import annotations

import pytest
import torch

from cmelt_plugin.losses.sentence_columns import PackedColumns, PaddedColumns, columns_of

PADDING = torch.tensor(
    [[False, True, True, True], [False, False, False, True], [True, False, False, False], [False, False, True, True]]
)
KINDS = (PackedColumns, PaddedColumns)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_the_sentences_of_their_reports(kind: type) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, *PADDING.shape, generator=generator, dtype=torch.float64)
    factors = torch.randn(3, len(PADDING), generator=generator, dtype=torch.float64)
    columns = kind(PADDING)
    found = columns.take(values)
    hidden = values.masked_fill(PADDING, 0.0)
    assert torch.equal(columns.lay_out(found), hidden)
    torch.testing.assert_close(columns.reports(columns.total(found)), hidden.sum(dim=-1))
    shares = values.masked_fill(PADDING, float("-inf")).softmax(dim=-1)
    torch.testing.assert_close(columns.lay_out(columns.softmax(found)), shares)
    # Factors are in the order of the columns' reports.
    weighted = columns.total(columns.times(columns.take(torch.ones_like(values)), factors))
    counts = columns.total(columns.take(torch.ones_like(values)))
    torch.testing.assert_close(weighted, counts * factors)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_become_columns_in_the_same_order_as_values(kind: type) -> None:
    numbers = torch.arange(float(PADDING.numel())).view(PADDING.shape)
    columns = kind(PADDING)
    vectors = columns.of(numbers[..., None].expand(-1, -1, 5))
    assert torch.equal(vectors, columns.take(numbers)[:, None].expand(-1, 5))
    n_columns = PADDING.numel() if kind is PaddedColumns else int((~PADDING).sum())
    assert len(vectors) == n_columns


def test_a_softmax_of_values_far_apart_is_finite() -> None:
    values = torch.tensor([[1e4, -1e4, 0.0, 3.0]]).expand(4, -1)
    for kind in KINDS:
        columns = kind(PADDING)
        shares = columns.lay_out(columns.softmax(columns.take(values)))
        torch.testing.assert_close(shares.sum(dim=-1), torch.ones(4))


def test_a_cpu_computes_no_padding() -> None:
    assert isinstance(columns_of(PADDING), PackedColumns)
    assert isinstance(columns_of(PADDING.to("meta")), PaddedColumns)
