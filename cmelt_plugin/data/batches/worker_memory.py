"""Arrays of a mini-batch, in a data-loader worker where the main process can see them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import get_worker_info


def empty_batch(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor to fill: in a worker in shared memory, into which it would have to be copied on its way out, else anywhere."""
    if get_worker_info() is None:
        return torch.empty(*shape, dtype=dtype)
    tensor = torch.empty(0, dtype=dtype)
    n_bytes = tensor.element_size()
    for length in shape:
        n_bytes *= length
    # As torch's own collate function does it; Tensor.share_memory_ would allocate and copy, too.
    # Its stub knows no call without strides.
    return tensor.set_(torch.UntypedStorage._new_shared(n_bytes), 0, tuple(shape))  # type: ignore[call-overload]
