"""Two processes compute the loss and the gradient of one process with both batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses import pair_labels, siglep_loss
from cmelt_plugin.losses.gather import filled_up, sum_over_ranks
from tests.losses import rank_work
from tests.losses.ranks import two_ranks


@pytest.mark.parametrize("sizes", [(2, 5), (3, 3), (4, 1)])
def test_gathered_rows_of_uneven_ranks_and_their_gradient(sizes) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(size, 3, 2, generator=generator) for size in sizes]
    weights = [torch.randn(3, 2, generator=generator) for _ in sizes]
    parts = two_ranks()(rank_work.gather_part, list(zip(rows, weights)))

    everything = torch.cat(rows).requires_grad_()
    losses = [(everything * weight).square().sum() for weight in weights]
    sum(losses).backward()
    for (counts, gathered, loss, _), expected in zip(parts, losses):
        assert counts == list(sizes)
        assert torch.equal(gathered, everything.detach())
        torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(torch.cat([gradient for *_, gradient in parts]), everything.grad)


def test_gathering_leaves_the_gradient_of_its_neighbours_alone() -> None:
    rows = [torch.zeros(1, 2), torch.zeros(2, 2)]
    others = torch.zeros(3, 2)
    for (own, beside), row in zip(two_ranks()(rank_work.gather_beside, [(row, others) for row in rows]), rows):
        assert torch.equal(own, torch.full_like(row, 2.0))  # both ranks' parts
        assert torch.equal(beside, torch.ones(3, 2))  # this rank's alone


def test_sum_over_ranks_leaves_its_argument_alone() -> None:
    own = [torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])]
    for rank, (total, values) in enumerate(two_ranks()(rank_work.summed, [(value,) for value in own])):
        assert total.tolist() == [11.0, 22.0]
        assert torch.equal(values, own[rank])
    assert sum_over_ranks(own[0], None) is own[0]  # a single process


def two_batches(sizes=(2, 3), dim: int = 4) -> list[dict[str, Tensor]]:
    """A batch per rank with a swapped text each and reports that both ranks hold."""
    generator = torch.Generator().manual_seed(1)
    batches = []
    for size in sizes:
        report = torch.arange(size)
        aligned = torch.arange(size) != 1
        batches.append(
            {
                "ecg": F.normalize(torch.randn(size, dim, generator=generator), dim=-1),
                "text": F.normalize(torch.randn(size, dim, generator=generator), dim=-1),
                "report": report,
                "text_report": torch.where(aligned, report, torch.tensor(7)),
                "aligned": aligned,
                "scale": torch.tensor(3.0),
                "bias": torch.tensor(-1.0),
            }
        )
    return batches


def test_siglep_over_two_ranks_equals_one_big_batch() -> None:
    batches = two_batches()
    parts = two_ranks()(rank_work.siglep_over_ranks, [(batch,) for batch in batches])

    joint = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0] if batches[0][name].ndim}
    ecg, text = joint["ecg"].requires_grad_(), joint["text"].requires_grad_()
    scale = batches[0]["scale"].clone().requires_grad_()
    labels = pair_labels(joint["report"], joint["text_report"], torch.arange(len(ecg)), joint["aligned"], "ignore")
    loss = siglep_loss(ecg, text, labels, scale, batches[0]["bias"])
    loss.backward()
    torch.testing.assert_close(sum(part[0] for part in parts), loss.detach())
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), ecg.grad)
    torch.testing.assert_close(torch.cat([part[2] for part in parts]), text.grad)
    torch.testing.assert_close(sum(part[3] for part in parts), scale.grad)


def test_other_ranks_texts_are_negatives() -> None:
    """The released code labels the diagonal of every other rank's block positive, too; ours labels one diagonal."""
    sizes = (2, 2)
    batches = two_batches(sizes)
    for rank, batch in enumerate(batches):  # nothing swapped, no report twice
        batch["report"] = batch["text_report"] = torch.arange(2) + 2 * rank
        batch["aligned"] = torch.ones(2, dtype=torch.bool)
    parts = two_ranks()(rank_work.siglep_over_ranks, [(batch,) for batch in batches])
    ours = sum(part[0] for part in parts) / sum(sizes)

    ecg, text = (torch.cat([batch[name] for batch in batches]) for name in ("ecg", "text"))
    logits = 3.0 * (ecg @ text.T) - 1.0
    one_diagonal = 2 * torch.eye(4) - 1
    every_blocks_diagonal = (2 * torch.eye(2) - 1).repeat(2, 2)
    right, wrong = (-F.logsigmoid(labels * logits).sum() / 4 for labels in (one_diagonal, every_blocks_diagonal))
    assert abs(right - wrong) > 0.1
    torch.testing.assert_close(ours, right)


def test_rows_are_filled_up_with_zeros() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    filled = filled_up(rows, 3)
    assert filled.tolist() == [[1, 2], [3, 4], [0, 0]]
    filled.square().sum().backward()
    assert rows.grad.tolist() == [[2, 4], [6, 8]]
    with pytest.raises(ValueError, match="2 rows"):
        filled_up(rows, 1)


def test_after_a_failure_of_one_rank_both_answer_again() -> None:
    with pytest.raises(AssertionError, match="as asked for"):
        two_ranks()(rank_work.sum_unless_asked_to_fail, [(1.0, True), (2.0, False)])
    assert two_ranks()(rank_work.sum_unless_asked_to_fail, [(1.0, False), (2.0, False)]) == [3.0, 3.0]
