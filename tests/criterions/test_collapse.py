"""When a contrastive training counts as collapsed."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from cmelt_plugin.criterions.collapse import UncertaintyWatch, loss_of_guessing, spread
from cmelt_plugin.losses.clip import softmax_loss
from tests.criterions.collapse_ranks import watched
from tests.losses.ranks import two_ranks

DEAD, ALIVE = (1.0, 0.0, True), (0.5, 0.8, True)


def test_spread_is_zero_for_one_point_and_one_where_the_mean_is_the_origin() -> None:
    point = F.normalize(torch.randn(1, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert spread(point.expand(5, -1)) < 1e-6
    assert spread(torch.cat([torch.eye(4), -torch.eye(4)])) == pytest.approx(1.0)
    assert 0.1 < spread(F.normalize(point + 0.2 * torch.randn(50, 8), dim=-1)) < 0.9


def test_guessing_is_equal_logits() -> None:
    labels = torch.tensor([[1.0, -1, -1, 0], [-1, 1, 1, -1]])
    assert loss_of_guessing(labels) == pytest.approx(math.log(3) + math.log(4))
    torch.testing.assert_close(loss_of_guessing(labels), softmax_loss(torch.full((2, 4), 7.0), labels))
    assert loss_of_guessing(torch.ones(1, 1)) == 0


@pytest.mark.parametrize(
    ("batches", "collapsed"),
    [
        ([DEAD] * 3, True),
        ([DEAD] * 2, False),
        ([ALIVE, DEAD, DEAD], False),
        ([ALIVE, DEAD, DEAD, *[DEAD] * 3], True),  # windows follow each other
        ([(1.0, 0.5, True)] * 3, False),  # an untrained model may guess, without being one point
        ([(0.7, 0.01, True)] * 3, False),
        ([(9.0, 9.0, False), DEAD, DEAD], True),  # a repeated batch
    ],
)
def test_a_window_of_batches_decides(batches, collapsed: bool) -> None:
    message = watched(batches, 3, ranks=False)
    assert (message is not None) == collapsed
    assert watched(batches, 0, ranks=False) is None


def test_all_ranks_end_together_or_not_at_all() -> None:
    both = two_ranks()(watched, [([DEAD] * 2, 2), ([DEAD, (1.0, 0.0, False)], 2)])
    assert both[0] == both[1] is not None and "collapsed" in both[0]
    assert two_ranks()(watched, [([DEAD] * 2, 2), ([ALIVE] * 2, 2)]) == [None, None]


def test_uncertainties_that_stay_alike_are_named_once(caplog) -> None:
    watch, alike, unlike = UncertaintyWatch(window=3), torch.full((4,), 2.0), torch.tensor([1.0, 3.0])
    assert watch.add("text", unlike) == 1.0 and watch.add("ecg", alike) == 0.0
    for _ in range(2):  # two of three batches, and one that is repeated
        watch.add("ecg", alike)
        watch.add("text", alike)
        watch.add("ecg", alike, counts=False)
        assert len(caplog.records) <= 1
    assert [record.args[0] for record in caplog.records] == ["ecg"]  # a batch in three was not alike for texts
    for _ in range(6):
        watch.add("ecg", alike)
        watch.add("text", alike * (1 + 1e-5 * torch.arange(4)))
    assert [record.args[0] for record in caplog.records] == ["ecg", "text"]
    assert "the uncertainty of all text is the same" in caplog.text


def test_a_step_of_uncertainties_after_a_flat_start_is_no_collapse(caplog) -> None:
    watch = UncertaintyWatch(window=2)
    for uncertainty in (torch.ones(3), torch.tensor([1.0, 1.1, 1.2])):
        watch.add("ecg", uncertainty)
    assert not caplog.records
