"""What a checkpoint is made of: dictionaries, lists and other containers with tensors in them."""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from cmelt_plugin.serialization.restricted_pickle import LazyTensor


def lazy_tensors(tree: Any) -> Iterator[LazyTensor]:
    """Every tensor of a tree, each once."""
    seen: set[int] = set()
    stack = [tree]
    while stack:
        value = stack.pop()
        if id(value) in seen or not isinstance(value, (LazyTensor, dict, list, tuple, Namespace)):
            continue
        seen.add(id(value))
        if isinstance(value, LazyTensor):
            yield value
        else:
            stack.extend(value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ())
            stack.extend(vars(value).values() if type(value) in (OrderedDict, Namespace) else ())


def replace_tensors(tree: Any, tensor: Callable[[LazyTensor], Tensor]) -> Any:
    """The tree with its tensors; what is one object in it stays one, and dictionaries and lists are changed in place."""
    return _replaced(tree, tensor, {})


def _replaced(value: Any, tensor: Callable[[LazyTensor], Tensor], done: dict[int, tuple[Any, Any]]) -> Any:
    # ``done`` holds the old objects, too: the number of one that is gone could become another's.
    if id(value) in done:
        return done[id(value)][1]
    result = value
    if isinstance(value, LazyTensor):
        result = tensor(value)
        done[id(value)] = (value, result)
    elif isinstance(value, (dict, list)):
        done[id(value)] = (value, value)
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            value[key] = _replaced(item, tensor, done)
    elif type(value) is tuple:
        result = tuple(_replaced(item, tensor, done) for item in value)
        done[id(value)] = (value, result)
    if type(value) in (OrderedDict, Namespace):
        done[id(value)] = (value, value)
        _replaced(vars(value), tensor, done)
    return result
