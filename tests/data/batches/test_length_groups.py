"""Batches of texts of similar length: what is in them, and that what was planned is what is collated."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import report_tokens, write_manifest

from cmelt_plugin.data.batches import length_groups as module
from cmelt_plugin.data.batches.length_groups import deal_by_length, length_groups, swapped_places
from tests.data.paired import dataset, equal


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("groups") / "m", n_records=50)


def zipf_texts(n, n_texts=300, seed=0):
    """Texts of ``n`` records, the frequent ones short, and the length of each."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, n_texts + 1)
    texts = rng.choice(n_texts, n, p=frequency / frequency.sum())
    return np.sort(rng.geometric(0.05, n_texts) + 3)[texts], texts


def groups(lengths, texts, size, n_ranks, seed=0):
    places = length_groups(lengths, texts, size, n_ranks, np.random.default_rng(seed))
    return [places[start : start + size] for start in range(0, len(places), size)]


def padding(lengths, batches):
    return 1 - lengths.sum() / sum(len(batch) * lengths[batch].max() for batch in batches)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 300),
    size=st.integers(1, 20),
    n_ranks=st.integers(1, 4),
    chunk=st.integers(1, 5),
    seed=st.integers(0, 100),
)
def test_every_place_is_in_one_batch_and_half_of_each_batch_is_swapped(n, size, n_ranks, chunk, seed):
    lengths, texts = zipf_texts(n, 9, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        swapped = swapped_places(n, size)
        batches = groups(lengths, texts, size, n_ranks, seed)
        other_ranks = groups(lengths, texts, size, n_ranks + 1, seed + 1)
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert [len(batch) for batch in batches] == [size] * (n // size) + [n % size] * (n % size > 0)
    assert [int(swapped[batch].sum()) for batch in batches] == [len(batch) // 2 for batch in batches]
    # Processes and their number change the order of the batches, not what is in them.
    assert {frozenset(batch.tolist()) for batch in batches} == {frozenset(batch.tolist()) for batch in other_ranks}


def test_padding_becomes_a_fraction_of_what_it_was():
    lengths, texts = zipf_texts(128 * 100 + 7)
    batches = groups(lengths, texts, 128, 1)
    random_batches = np.array_split(np.arange(len(lengths)), 101)
    assert padding(lengths, random_batches) > 0.7
    assert padding(lengths, batches) < 0.2


def test_batches_that_ranks_compute_together_are_of_similar_length():
    lengths, texts = zipf_texts(16 * 256)
    batches = groups(lengths, texts, 16, 4)
    longest = np.array([lengths[batch].max() for batch in batches])
    runs, shuffled = longest.reshape(-1, 4), np.random.default_rng(1).permutation(longest).reshape(-1, 4)
    assert runs.max(axis=1).mean() < 0.7 * shuffled.max(axis=1).mean()
    assert (np.diff(runs[:, 0]) < 0).any() and (np.diff(runs[:, 0]) > 0).any()  # neither up nor down over the epoch


@settings(max_examples=60, deadline=None)
@given(n_batches=st.integers(1, 8), rows=st.integers(1, 40), n_texts=st.integers(1, 30), seed=st.integers(0, 100))
def test_shortest_come_first_and_no_text_takes_more_than_its_part(n_batches, rows, n_texts, seed):
    lengths, texts = zipf_texts(n_batches * rows, n_texts, seed)
    dealt = deal_by_length(lengths, texts, n_batches)
    left = sorted(range(len(lengths)), key=lambda place: lengths[place])
    most = [max(rows / 16, 2 * (texts == text).sum() / n_batches) for text in range(n_texts)]
    for batch in dealt:  # the same, one place after the other
        taken = []
        for place in left:
            copies = sum(texts[other] == texts[place] for other in taken)
            if len(taken) < rows and copies < np.ceil(most[texts[place]]):
                taken.append(place)
        taken += [place for place in left if place not in taken][: rows - len(taken)]
        left = [place for place in left if place not in taken]
        assert batch.tolist() == taken


def test_a_frequent_text_does_not_fill_whole_batches():
    texts = np.where(np.arange(64 * 64) % 8 == 0, 0, np.arange(64 * 64))  # every eighth report is the same, and short
    lengths = np.where(texts == 0, 4, 5 + texts % 40)
    dealt = deal_by_length(lengths, texts, 64)
    assert (texts[dealt] == 0).sum(axis=1).max() == 16  # twice 64 / 8; sorted alone it would be 64
    assert padding(lengths, dealt) < 0.1


@pytest.mark.parametrize("n3s", [True, False])
def test_what_was_planned_is_what_is_collated(directory, n3s):
    data = dataset(directory, n3s=n3s, group_by_length=True, max_text_tokens=5)
    batches = data.batches(8)
    assert sorted(row for batch in batches for row, _ in batch.tolist()) == list(range(50))
    for items in batches:
        batch = data.collater(data.__getitems__(items))
        assert batch["id"].tolist() == items[:, 0].tolist()
        assert batch["text_report_id"].tolist() == items[:, 1].tolist()
        assert batch["report_id"].tolist() == data.report_ids[items[:, 0]].tolist()
        assert int((~batch["aligned"]).sum()) == len(items) // 2
        assert torch.equal(batch["aligned"], batch["report_id"] == batch["text_report_id"])
        real = (~batch["net_input"]["text_padding_mask"]).sum(dim=1).tolist()
        assert real == [min(5, len(report_tokens(report)) + 1) for report in items[:, 1].tolist()]
        for own, used in zip(batch["report_id"].tolist(), batch["text_report_id"].tolist()):
            assert own == used or not n3s or used in data.negatives.neighbours[own]
        # All else is what the records have in any batch.
        plain = dataset(directory, n3s=n3s).collater(items[:, 0].tolist())
        for name in ("ecg", "lead_mask", "mem_noise"):
            equal(plain["net_input"][name], batch["net_input"][name])


def test_batches_follow_from_seed_and_epoch(directory):
    def batches(epoch, **options):
        data = dataset(directory, group_by_length=True, **options)
        data.set_epoch(epoch)
        return [batch.tolist() for batch in data.batches(8)]

    assert batches(1) == batches(1)
    assert batches(1) != batches(2) != batches(2, seed=2)
    times = np.zeros(50)
    for epoch in range(200):
        for row, report in sum(batches(epoch), []):
            times[row] += report != row % 6
    assert 65 < times.min() and times.max() < 135  # every record is swapped in about half of the epochs


def test_validation_is_never_grouped(directory):
    data = dataset(directory, split="valid", train=False, group_by_length=True)
    assert not data.keeps_order_of_batches
    assert np.concatenate(data.batches(8)).tolist() == list(range(50))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_make_the_planned_batches(directory, workers):
    data = dataset(directory, group_by_length=True)
    batches = data.batches(8)
    loader = torch.utils.data.DataLoader(data, batch_sampler=batches, collate_fn=data.collater, num_workers=workers)
    for batch, items in zip(loader, batches):
        equal(batch, data.collater([data[item] for item in items]))
