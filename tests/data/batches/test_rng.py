import numpy as np

from cmelt_plugin.data.batches.rng import epoch_order, record_generators


def draw(seed, epoch, indices):
    return np.stack([generator.random(5) for generator in record_generators(seed, epoch, np.asarray(indices))])


def test_numbers_depend_on_seed_epoch_and_record_alone():
    np.testing.assert_array_equal(draw(1, 2, [3, 4, 5])[1], draw(1, 2, [4])[0])
    for other in (draw(2, 2, [4]), draw(1, 3, [4]), draw(1, 2, [5])):
        assert not np.array_equal(draw(1, 2, [4]), other)


def test_streams_of_neighbouring_records_do_not_overlap():
    first, second = record_generators(1, 1, np.array([0, 1]))
    assert not set(first.integers(0, 2**63, 5000)) & set(second.integers(0, 2**63, 5000))


def test_epoch_order_is_a_permutation_that_changes_with_the_epoch():
    order = epoch_order(1, 1, 1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    np.testing.assert_array_equal(order, epoch_order(1, 1, 1000))
    assert not np.array_equal(order, epoch_order(1, 2, 1000))
    assert not np.array_equal(order, epoch_order(2, 1, 1000))
