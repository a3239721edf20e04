"""Items in order, each once, no more in memory than asked for, errors where they belong."""

from __future__ import annotations

import threading
import time

import pytest

from cmelt_plugin.data.store.read_ahead import read_ahead


@pytest.mark.parametrize("ahead", [0, 2, 50])
def test_every_item_comes_once_and_in_order(ahead: int) -> None:
    calls = []

    def load(index: int) -> int:
        time.sleep(0.002 * (index % 3))
        calls.append(index)
        return 10 * index

    assert list(read_ahead(load, 20, ahead)) == [10 * index for index in range(20)]
    assert calls == list(range(20))
    assert list(read_ahead(load, 0, ahead)) == []


def test_the_next_items_are_loaded_while_one_is_out_and_not_more() -> None:
    loaded = []
    third = threading.Event()

    def load(index: int) -> int:
        loaded.append(index)
        if index == 2:
            third.set()
        return index

    items = read_ahead(load, 10, ahead=2)
    assert next(items) == 0
    assert third.wait(10)
    time.sleep(0.05)
    assert loaded == [0, 1, 2]
    items.close()
    assert loaded == [0, 1, 2]


def test_an_error_comes_when_its_item_is_due() -> None:
    def load(index: int) -> int:
        if index == 2:
            raise ValueError("third")
        return index

    items = read_ahead(load, 5, ahead=4)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ValueError, match="third"):
        next(items)
