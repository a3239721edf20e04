"""Reading the next items in the background while the current one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, TypeVar

Item = TypeVar("Item")


def read_ahead(load: Callable[[int], Item], n: int, ahead: int = 2) -> Iterator[Item]:
    """``load(0)``, …, ``load(n - 1)``, in order, each called once, in a background thread.

    A thread suffices where ``load`` spends its time in NumPy or in reading files, which let other threads run.

    Args:
        load: gives one item.
        n: how many.
        ahead: items loaded or being loaded beside the one given out; bounds the memory.

    Raises:
        Exception: what ``load`` raises, when its item's turn has come.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    waiting: deque[Future[Item]] = deque()
    submitted = 0
    try:
        for _ in range(n):
            while submitted < n and len(waiting) <= ahead:
                waiting.append(pool.submit(load, submitted))
                submitted += 1
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
