"""The softmax contrastive loss against double loops, in half precision, and over two ranks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses import clip_loss, info_nce, pair_labels
from cmelt_plugin.losses.pairs import DUPLICATES
from tests.losses import rank_work
from tests.losses.ranks import two_ranks

REPORTS = [4, 9, 4, 7, 4]


def labels_of(reports: list[int], duplicates: str = "negative") -> Tensor:
    report = torch.tensor(reports)
    return pair_labels(report, report, torch.arange(len(report)), torch.ones(len(report), dtype=torch.bool), duplicates)


def pairs(n: int = 5, dim: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, dim, generator=generator, dtype=dtype) for _ in range(2))  # type: ignore[return-value]


def by_hand(queries: Tensor, keys: Tensor, reports: list[int], duplicates: str, scale: float) -> float:
    """One query and one key at a time, in Python's numbers."""
    total = 0.0
    for i, query in enumerate(queries.tolist()):
        logits, positives = [], []
        for j, key in enumerate(keys.tolist()):
            same = reports[i] == reports[j] and i != j
            if same and duplicates == "ignore":
                continue
            lengths = math.sqrt(sum(a * a for a in query)) * math.sqrt(sum(b * b for b in key))
            logits.append(scale * sum(a * b for a, b in zip(query, key)) / lengths)
            if i == j or same and duplicates == "positive":
                positives.append(len(logits) - 1)
        whole = math.log(sum(math.exp(logit) for logit in logits))
        total += sum(whole - logits[place] for place in positives) / len(positives)
    return total


@pytest.mark.parametrize("duplicates", DUPLICATES)
@pytest.mark.parametrize(("reduction", "share"), [("sum", 1.0), ("mean", 0.5)])
def test_equals_a_double_loop(duplicates: str, reduction: str, share: float) -> None:
    first, second = pairs()
    loss = clip_loss(first, second, first, second, labels_of(REPORTS, duplicates), 3.0, reduction)
    both = by_hand(first, second, REPORTS, duplicates, 3.0) + by_hand(second, first, REPORTS, duplicates, 3.0)
    assert loss.item() == pytest.approx(share * both, rel=1e-12)


def test_without_duplicates_it_is_cross_entropy_of_rows_plus_columns() -> None:
    first, second = pairs()
    logits = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T / 0.07
    own = torch.arange(len(first))
    expected = F.cross_entropy(logits, own, reduction="sum") + F.cross_entropy(logits.T, own, reduction="sum")
    loss = clip_loss(first, second, first, second, labels_of([1, 2, 3, 4, 5]), 1 / 0.07)
    torch.testing.assert_close(loss, expected)


def test_lengths_do_not_matter() -> None:
    """Views enter as they come from their linear layers: the loss compares directions alone."""
    first, second = pairs()
    labels = labels_of(REPORTS)
    once = clip_loss(first, second, first, second, labels, 5.0)
    torch.testing.assert_close(clip_loss(7 * first, second / 3, 7 * first, second / 3, labels, 5.0), once)


@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_gradient(duplicates: str) -> None:
    labels = labels_of(REPORTS, duplicates)
    first, second = (side.requires_grad_() for side in pairs())
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b, s: clip_loss(a, b, a, b, labels, s), (first, second, scale))


def test_columns_that_do_not_count_and_queries_without_a_positive_add_nothing() -> None:
    first, second = pairs(3, dtype=torch.float32)
    padded = torch.cat([second, torch.zeros(2, 4)]).requires_grad_()
    labels = torch.cat([labels_of([1, 2, 3]), torch.zeros(3, 2)], dim=1)
    expected = info_nce(first, second, labels_of([1, 2, 3]), 2.0)
    torch.testing.assert_close(info_nce(first, padded, labels, 2.0), expected)
    empty = info_nce(first, padded, torch.zeros(3, 5), 2.0)
    assert empty == 0
    (empty + info_nce(first, padded, labels, 2.0)).backward()
    assert padded.grad.isfinite().all() and not padded.grad[3:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    first, second = (side.to(dtype) for side in pairs(dim=256))
    labels = labels_of(REPORTS)
    loss = clip_loss(first * 256, second, first * 256, second, labels, 100.0)  # squares beyond float16
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, clip_loss(first.float(), second.float(), first.float(), second.float(), labels, 100.0))
    with torch.autocast("cpu", torch.bfloat16):
        plain = [side.float() for side in (first, second)]
        torch.testing.assert_close(clip_loss(*plain, *plain, labels, 100.0), loss)


def test_another_reduction_is_refused() -> None:
    first, second = pairs()
    with pytest.raises(ValueError, match="sum, mean"):
        clip_loss(first, second, first, second, labels_of(REPORTS), 1.0, "none")


@pytest.mark.parametrize("duplicates", DUPLICATES)
@pytest.mark.parametrize("sizes", [(2, 3), (4, 1)])
def test_two_ranks_are_one_process(duplicates: str, sizes: tuple[int, int]) -> None:
    """Value and gradient, with reports that both ranks hold and sizes that differ."""
    first, second = pairs()
    report = torch.tensor(REPORTS)
    scale = torch.tensor(2.0, dtype=torch.float64)
    batches = list(zip(first.split(sizes), second.split(sizes), report.split(sizes)))
    parts = two_ranks()(rank_work.clip_over_ranks, [(*batch, duplicates, scale) for batch in batches])
    first, second, scale = (value.clone().requires_grad_() for value in (first, second, scale))
    loss = clip_loss(first, second, first, second, labels_of(REPORTS, duplicates), scale)
    loss.backward()
    torch.testing.assert_close(sum(part[0] for part in parts), loss.detach())
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), first.grad)
    torch.testing.assert_close(torch.cat([part[2] for part in parts]), second.grad)
    torch.testing.assert_close(sum(part[3] for part in parts), scale.grad)
