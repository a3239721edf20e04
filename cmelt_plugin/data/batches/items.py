"""What all data sets share: numbered items that are put together in batches of a fixed size, and begin anew every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin import host


class ItemDataset(host.Dataset):
    """Base: an item is its number; all work is done on whole batches, in ``collater``."""

    epoch = 1

    def __getitem__(self, index: int) -> int:
        return int(index)

    def __getitems__(self, indices: Sequence[int]) -> list[int]:
        return list(indices)

    def __len__(self) -> int:
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return True

    def ordered_indices(self) -> np.ndarray:
        return np.arange(len(self))

    @property
    def keeps_order_of_batches(self) -> bool:
        """Whether the host must not shuffle :meth:`batches`."""
        return False

    def batches(self, size: int, n_ranks: int = 1) -> list[np.ndarray]:
        """Items of each batch of this epoch, the last of which may have fewer; the host deals them to the ranks in turn."""
        order = self.ordered_indices()
        return [order[start : start + size] for start in range(0, len(order), size)]

    def collater(self, samples: Sequence[Any] | np.ndarray) -> dict[str, Any]:
        """Item numbers → mini-batch."""
        raise NotImplementedError
