import torch

from cmelt_plugin.evaluation.validation import ValidationPass, unique_records
from tests.evaluation.validation_ranks import Squares, metrics_of_rank
from tests.losses.ranks import two_ranks


def test_each_record_once_by_rising_id():
    columns = {"id": torch.tensor([4, 2, 4, 0, 2]), "x": torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])}
    once = unique_records(columns)
    assert once["id"].tolist() == [0, 2, 4]
    assert once["x"].flatten().tolist() == [4.0, 2.0, 1.0]  # the first of each


def sample(*ids):
    return {"id": torch.tensor(ids)}


def test_metrics_come_with_the_last_batch_and_cover_all_records():
    subset = Squares(3)
    assert subset.add(None, sample(0, 1)) is None
    assert subset.add(None, sample(2, 3)) is None
    assert subset.add(None, {}) == {"sum": 0 + 1 + 4 + 9, "records": 4.0}  # nothing left on this rank, counted all the same


def test_a_repeated_batch_counts_once():
    subset = Squares(3)
    for ids in ((3,), (1, 2), (1, 2)):
        figures = subset.add(None, sample(*ids))
    assert figures == {"sum": 9 + 1 + 4, "records": 3.0}


def test_what_the_model_said_already_is_used():
    class Seen(Squares):
        def rows(self, model, sample, out):
            return {"id": sample["id"], "x": out["x"]}

    figures = Seen(1).add(None, sample(0, 1), {"x": torch.tensor([10.0, 20.0])})
    assert figures == {"sum": 30.0, "records": 2.0}


def test_two_ranks_see_the_whole_subset():
    """Unequal batches, one record on both ranks, one rank that runs out: D-M12 averages per-rank figures instead."""
    parts = [([[0, 2], [4, 6]], 3), ([[1, 3, 5], [6], [7]], 3)]
    first, second = two_ranks()(metrics_of_rank, parts)
    expected = {"sum": float(sum(i * i for i in range(8))), "records": 8.0}
    assert first == second == expected


def test_base_class_says_what_is_missing():
    import pytest

    with pytest.raises(NotImplementedError):
        ValidationPass(1).add(None, sample(1))
