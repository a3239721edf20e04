import dataclasses
import pickle

import numpy as np
import pytest
import torch
from tiny import EOS, MASK, PAD, report_tokens, write_manifest

from cmelt_plugin.data.batches.ecg_text import ECGTextDataset, PairingOptions
from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import fingerprint
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from tests.data.paired import dataset, equal


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("data") / "m", short_row=5)


def words(batch, row):
    """Token ids of one row with the masked places filled from the target, padding and EOS cut."""
    ids, mask = batch["net_input"]["text"].clone(), batch["net_input"]["mlm_mask"]
    ids[mask] = batch["mlm_target"]
    return [int(i) for i in ids[row][~batch["net_input"]["text_padding_mask"][row]] if i != EOS]


@pytest.mark.parametrize("n3s", [True, False])
def test_swapped_rows_carry_the_negative_report(directory, n3s):
    """The released collator overwrites the negative with the masked original (cmelt.md §3, fault 1)."""
    data = dataset(directory, n3s=n3s)
    batch = data.collater(list(range(12)))
    assert (~batch["aligned"]).sum() == 6  # half of each batch
    for row in range(12):
        own, used = int(batch["report_id"][row]), int(batch["text_report_id"][row])
        assert own == data.report_ids[row]
        assert words(batch, row) == list(report_tokens(used))
        assert (own == used) == bool(batch["aligned"][row])
        if n3s and own != used:
            assert used in data.negatives.neighbours[own]


def test_masks_are_those_of_the_text_in_use(directory):
    """Fault 6: the released padding mask is the original report's; here reports differ in length."""
    batch = dataset(directory).collater(list(range(16)))
    inputs = batch["net_input"]
    for row in range(16):
        real = ~inputs["text_padding_mask"][row]
        assert int(real.sum()) == len(report_tokens(int(batch["text_report_id"][row]))) + 1
        assert (inputs["text"][row][~real] == PAD).all()
    assert len(batch["mlm_target"]) == int(inputs["mlm_mask"].sum()) >= 16
    assert (inputs["text"] == MASK).any()


def test_batches_do_not_depend_on_batch_mates_beyond_the_swap(directory):
    data = dataset(directory)
    together, alone = data.collater([3, 7, 9, 11]), data.collater([7, 9])
    equal(together["net_input"]["lead_mask"][1:3], alone["net_input"]["lead_mask"])
    equal(together["net_input"]["mem_noise"][1:3], alone["net_input"]["mem_noise"])
    equal(together["net_input"]["ecg"][1:3], alone["net_input"]["ecg"])


def test_epochs_and_seeds_differ_and_repeat(directory):
    data = dataset(directory)
    first, order = data.collater([0, 1, 2, 3]), data.ordered_indices()
    data.set_epoch(2)
    second = data.collater([0, 1, 2, 3])
    assert not torch.equal(first["net_input"]["mem_noise"], second["net_input"]["mem_noise"])
    assert not np.array_equal(order, data.ordered_indices())
    data.set_epoch(1)
    equal(first, data.collater([0, 1, 2, 3]))
    other = dataset(directory, seed=2).collater([0, 1, 2, 3])
    assert not torch.equal(first["net_input"]["mem_noise"], other["net_input"]["mem_noise"])


def test_validation_draws_stay_and_leads_stay_whole(directory):
    data = dataset(directory, split="valid", train=False)
    first = data.collater([0, 1, 2, 3])
    data.set_epoch(7)
    equal(first, data.collater([0, 1, 2, 3]))
    assert first["net_input"]["lead_mask"] is None
    assert first["report_text"].shape[0] == 4
    for row in range(4):
        real = first["report_text"][row][~first["report_padding_mask"][row]].tolist()
        assert real == [*report_tokens(row), EOS]  # unmasked and aligned


def test_the_signal_is_the_stored_one_in_millivolts(directory):
    data = dataset(directory)
    batch = data.collater([4, 5])
    manifest = data.manifest
    expected = RecordStore(directory).read(manifest.shard[[4, 5]], manifest.row[[4, 5]])
    np.testing.assert_array_equal(batch["net_input"]["ecg"].numpy(), expected)
    assert batch["net_input"]["ecg"].dtype == torch.float32
    assert batch["net_input"]["n_samples"].tolist() == [5000, 3500]
    assert data.collater([3, 4])["net_input"]["n_samples"] is None


@pytest.mark.parametrize("workers", [0, 2])
def test_same_batches_for_any_number_of_workers(directory, workers):
    data = dataset(directory)
    batches = np.split(data.ordered_indices(), 4)
    loader = torch.utils.data.DataLoader(data, batch_sampler=batches, collate_fn=data.collater, num_workers=workers)
    for batch, rows in zip(loader, batches):
        equal(batch, data.collater(list(rows)))


def test_long_texts_are_cut_and_keep_their_end_token(directory):
    data = dataset(directory, max_text_tokens=3)
    ids, padding = data.pad_texts(np.array([2]))
    assert ids.tolist() == [[*report_tokens(2)[:2], EOS]]
    assert not padding.any()


def test_stale_negatives_are_refused(tmp_path):
    directory = write_manifest(tmp_path / "m")
    path = directory / "train.meta.parquet"
    other = write_manifest(tmp_path / "other", n_reports=5)
    path.write_bytes((other / "train.meta.parquet").read_bytes())
    assert fingerprint(path) != NegativeTable.load(directory, "valid").info["split_fingerprint"]
    with pytest.raises(DataError, match="stale"):
        NegativeTable.load(directory, "train")


def test_records_without_report_are_refused(tmp_path):
    directory = write_manifest(tmp_path / "m", reports=False)
    full = write_manifest(tmp_path / "full")
    tokens = TokenTable.load(full / "reports.tiny.npz")
    with pytest.raises(DataError, match=r"row 0: no report"):
        ECGTextDataset(Manifest.open(directory, "train"), tokens, PairingOptions())


def test_random_negatives_differ_from_the_report(tmp_path):
    directory = write_manifest(tmp_path / "m", n_reports=2, k=1)
    batch = dataset(directory, n3s=False).collater(list(range(8)))
    assert (batch["text_report_id"] != batch["report_id"]).sum() == 4


def test_random_negatives_are_those_of_uniformly_drawn_other_records(tmp_path):
    """Copies of a report stood together, as one patient's records do; the record behind them was drawn for all of them."""
    data = dataset(write_manifest(tmp_path / "m", n_records=40, n_reports=5), n3s=False)
    runs = np.repeat([3, 0, 3, 1, 2, 4], [20, 4, 5, 1, 7, 3])
    data.report_ids = runs.astype(np.int32)
    data.report_ends = np.cumsum(np.bincount(runs))
    counts = np.bincount(runs)
    n_draws = 20_000
    for own in range(5):
        drawn = data.draw_negatives(np.full(n_draws, own, dtype=np.int32), np.random.default_rng(own).random(n_draws))
        expected = n_draws * counts / (40 - counts[own])
        found = np.bincount(drawn, minlength=5)
        assert found[own] == 0
        others = np.arange(5) != own
        chi_square = ((found - expected)[others] ** 2 / expected[others]).sum()
        assert chi_square < 18.5  # 3 degrees of freedom: exceeded once in 3,000


def test_a_random_negative_that_was_right_stays_the_same(tmp_path):
    """Only a draw of the report itself is made again, so that what was drawn right before is drawn now."""
    data = dataset(write_manifest(tmp_path / "m", n_records=24, n_reports=6), n3s=False)
    u = np.random.default_rng(0).random(500)
    own = np.arange(500, dtype=np.int32) % 6
    row = (u * 24).astype(int)
    right = data.report_ids[row] != own
    assert 300 < right.sum() < 500
    assert np.array_equal(data.draw_negatives(own, u)[right], data.report_ids[row][right])
    ends = data.draw_negatives(np.array([0, 5, 0, 5]), np.array([0.0, 0.0, np.nextafter(1, 0), np.nextafter(1, 0)]))
    assert set(ends) <= set(range(6)) and (ends != [0, 5, 0, 5]).all()


def test_one_report_alone_has_no_negatives(tmp_path):
    directory = write_manifest(tmp_path / "m", n_reports=1, splits=())
    write_manifest(tmp_path / "two", n_reports=2, k=1)
    for name in ("train.tsv", "train.meta.parquet"):
        (directory / name).write_bytes((tmp_path / "two" / name).read_bytes())
    manifest = Manifest.open(directory, "train")
    manifest = dataclasses.replace(manifest, **{key: getattr(manifest, key)[:1] for key in ("shard", "row", "n_samples")})
    manifest_of_one = type("One", (Manifest,), {"report_ids": lambda self: np.zeros(1, dtype=np.int32)})
    one = manifest_of_one(**{field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)})
    with pytest.raises(DataError, match="one report only"):
        ECGTextDataset(one, TokenTable.load(directory / "reports.tiny.npz"), PairingOptions(), None)


def test_spawned_workers_make_the_same_batches(directory):
    """Both hosts can spawn their workers, which then get the data set pickled."""
    data = dataset(directory)
    batches = np.split(data.ordered_indices(), 4)
    loader = torch.utils.data.DataLoader(
        data, batch_sampler=batches, collate_fn=data.collater, num_workers=1, multiprocessing_context="spawn"
    )
    for batch, rows in zip(loader, batches):
        equal(batch, data.collater(list(rows)))


def test_a_pickled_data_set_has_ten_bytes_per_record(directory):
    data = dataset(directory)
    few, n = len(pickle.dumps(data)), len(data)
    many = {key: np.tile(getattr(data.manifest, key), 1000) for key in ("shard", "row", "n_samples")}
    data.manifest = dataclasses.replace(data.manifest, **many)
    data.report_ids = np.tile(data.report_ids, 1000)
    assert len(pickle.dumps(data)) - few <= 10 * 999 * n + 100
