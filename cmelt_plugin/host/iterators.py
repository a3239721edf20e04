"""Batches of an epoch, alike on both hosts."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from cmelt_plugin.host.choosing import host_module


class EpochBatchIterator(host_module("data.iterators").EpochBatchIterator):  # type: ignore[misc]
    """The host's iterator over the batches of an epoch, which resumes in the middle of one on both hosts.

    On both, too, batches wait in memory that a GPU copies from by itself (pinned) where there is a GPU, and only there:
    fairseq-signals pins nowhere, fairseq everywhere, at which PyTorch warns on other machines.
    """

    buffer_size: int

    @property
    def next_epoch_idx(self) -> int:
        # fairseq-signals forgets to return the number where an epoch was restored half-way.
        return self.epoch if self._next_epoch_itr is not None else super().next_epoch_idx

    def _get_iterator_for_epoch(self, *arguments: Any, **options: Any) -> Any:
        # Behind the host's buffer the loader has not started yet when it is handed over and can still be told to pin.
        buffer_size, self.buffer_size = self.buffer_size, max(self.buffer_size, 1)
        try:
            iterator = super()._get_iterator_for_epoch(*arguments, **options)
        finally:
            self.buffer_size = buffer_size
        if iterator is None:
            return None
        buffer = iterator._itr
        loader = buffer._iterable
        loader.pin_memory = torch.cuda.is_available()
        if not buffer_size:
            iterator._itr = iter(loader)
        elif loader.pin_memory:
            buffer._iterable = _OnDevice(loader, torch.cuda.current_device())
        return iterator


class _OnDevice:
    """An iterable that a thread goes through with this process's GPU as its current one, where memory is pinned for it.

    fairseq-signals' buffer fills in a thread that would otherwise work for the first GPU of the machine.
    """

    def __init__(self, iterable: Any, device: int) -> None:
        self.iterable, self.device = iterable, device

    def __iter__(self) -> Any:
        torch.cuda.set_device(self.device)
        return iter(self.iterable)


def epoch_batch_iterator(**arguments: Any) -> Any:
    """The host's ``EpochBatchIterator`` with those of ``arguments`` that this host knows."""
    known = inspect.signature(EpochBatchIterator).parameters
    return EpochBatchIterator(**{name: value for name, value in arguments.items() if name in known})
