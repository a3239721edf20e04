"""Operations that make the host wait for a GPU, counted on any device."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Their result is a number in Python, or a tensor whose size depends on values.
_WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::equal"}
_INDEXING = {"aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::index_put"}


class WaitCounter(TorchDispatchMode):
    """Counts, within its ``with`` block, ``.item()``, ``nonzero``, indexing with a boolean mask, and copies to the CPU.

    Attributes:
        names: operation → how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name
        if name in _WAITING or (name in _INDEXING and _has_boolean(args[1])) or _copies_to_cpu(name, args, kwargs or {}):
            self.names[name] += 1
        return function(*args, **(kwargs or {}))

    @classmethod
    def count(cls, step: Callable[[], Any]) -> int:
        """How often one call of ``step`` waits."""
        with cls() as counter:
            step()
        return sum(counter.names.values())


def _has_boolean(indices: Any) -> bool:
    return any(torch.is_tensor(index) and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _copies_to_cpu(name: str, args: Any, kwargs: dict[str, Any]) -> bool:
    target = kwargs.get("device")
    return name == "aten::_to_copy" and target is not None and target.type == "cpu" and args[0].device.type != "cpu"
