"""Reading pickles of checkpoints without running what they name.

A pickle is a program for a small machine that may call any function of Python. This reader knows the few functions and
types that PyTorch and the hosts write into checkpoints and stops at every other one. Tensors come out as
:class:`LazyTensor`: what they look like and where their bytes are, so that sizes can be judged before memory is taken. It
works alike with every version of PyTorch, whose own ``weights_only`` reader does not (before 2.4 it refuses the hosts'
checkpoints, before 2.6 it can be got round).
"""

from __future__ import annotations

import argparse
import pickle
from collections import Counter, OrderedDict
from typing import Any, Callable, ClassVar, NamedTuple, Protocol

import numpy as np
import torch


class ForbiddenPickle(pickle.UnpicklingError):
    """A pickle that names something other than data."""


class Storage(NamedTuple):
    """Numbers of a file that one or several tensors are views of.

    Attributes:
        key: its name in the file.
        dtype: of its numbers; None: bytes.
        length: how many numbers there are.
    """

    key: str
    dtype: torch.dtype | None
    length: int


class LazyTensor:
    """A tensor that has not been read: ``storage``, ``dtype``, ``offset`` and ``stride`` in numbers, ``shape``."""

    __slots__ = ("storage", "dtype", "offset", "shape", "stride", "is_parameter", "requires_grad")

    def __init__(self, storage: Any, dtype: torch.dtype | None, offset: Any, shape: Any, stride: Any) -> None:
        numbers = (offset, *shape, *stride)
        if type(storage) is not Storage or not isinstance(dtype, torch.dtype) or len(shape) != len(stride):
            raise pickle.UnpicklingError("a tensor without a storage")
        if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
            raise pickle.UnpicklingError("a tensor of an impossible shape")
        self.storage, self.dtype, self.offset = storage, dtype, offset
        self.shape, self.stride = torch.Size(shape), tuple(stride)
        self.is_parameter = self.requires_grad = False
        end = 0 if not all(shape) else offset + 1 + sum((n - 1) * step for n, step in zip(shape, stride))
        width = 1 if storage.dtype is not None else dtype.itemsize
        # Strides of 0 show few numbers as many: none of the hosts writes that, and it would make memory out of nothing.
        if end * width > storage.length or self.numel() * width > storage.length:
            raise pickle.UnpicklingError(f"a tensor of shape {tuple(shape)} in a storage of {storage.length} numbers")

    def numel(self) -> int:
        count = 1
        for n in self.shape:
            count *= n
        return count


class _NumberType(NamedTuple):
    """A storage class of torch, by name."""

    dtype: torch.dtype | None


def _tensor_v2(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> LazyTensor:
    dtype = storage.dtype if type(storage) is Storage else None
    return LazyTensor(storage, dtype, offset, tuple(size), tuple(stride))


def _tensor_v3(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any) -> LazyTensor:
    return LazyTensor(storage, dtype, offset, tuple(size), tuple(stride))


def _parameter(tensor: Any, requires_grad: Any, *rest: Any) -> LazyTensor:
    if type(tensor) is not LazyTensor:
        raise pickle.UnpicklingError("a parameter that is no tensor")
    tensor.is_parameter, tensor.requires_grad = True, requires_grad is True
    return tensor


def _tensor_with_attributes(function: Any, kind: Any, arguments: Any, state: Any) -> LazyTensor:
    if kind not in (_TENSOR, _PARAMETER) or function not in (_tensor_v2, _tensor_v3, _parameter):
        raise ForbiddenPickle("a tensor of a class of its own")
    return function(*arguments)


def _encode(text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text.encode("latin1")


def _dtype(name: Any, *rest: Any) -> np.dtype:
    if name not in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"):
        raise ForbiddenPickle(f"numpy.dtype({name!r})")
    return np.dtype(name)


def _number(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, np.dtype) or type(data) is not bytes or len(data) != dtype.itemsize:
        raise pickle.UnpicklingError("a NumPy number of another size than its type")
    return np.frombuffer(data, dtype)[0]


def _set(values: Any = ()) -> set:
    if type(values) is not list or not all(isinstance(value, (str, int, float, bytes)) for value in values):
        raise pickle.UnpicklingError("a set of something else than numbers and texts")
    return set(values)


def _ordered(pairs: Any = ()) -> OrderedDict:
    if not all(type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) in _KEYS for pair in pairs):
        raise pickle.UnpicklingError("an ordered dictionary that is made of no pairs")
    return OrderedDict(pairs)


def _counter(counts: Any = ()) -> Counter:
    if counts != () and type(counts) is not dict:
        raise pickle.UnpicklingError("a counter that is made of no dictionary")
    return Counter(counts)


def _size(values: Any = ()) -> torch.Size:
    return torch.Size(values)


def _device(*arguments: Any) -> torch.device:
    return torch.device(*arguments)


_KEYS = (str, int, float, bool, bytes, type(None), tuple)
_TENSOR, _PARAMETER = object(), object()  # stand for the classes where they are named, and cannot be called
_FUNCTIONS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered,
    ("collections", "Counter"): _counter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch._utils", "_rebuild_tensor"): _tensor_v2,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _tensor_with_attributes,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
}
_CALLABLE = frozenset(_FUNCTIONS.values())
_NAMED: dict[tuple[str, str], Any] = {
    **_FUNCTIONS,
    ("argparse", "Namespace"): argparse.Namespace,
    ("torch", "Tensor"): _TENSOR,
    ("torch.nn.parameter", "Parameter"): _PARAMETER,
    ("torch.storage", "UntypedStorage"): _NumberType(None),
    **{("torch", name): value for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
    **{
        ("torch", f"{name}Storage"): _NumberType(dtype)
        for name, dtype in {
            "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
            "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
            "Bool": torch.bool,
        }.items()
    },
}  # fmt: skip


class ByteSource(Protocol):
    """What an :class:`Unpickler` asks of a file."""

    def read(self, count: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


# The machine of Python's own reader in Python, whose steps can be replaced one by one.
class Unpickler(pickle._Unpickler):
    """Reads one pickle of a checkpoint.

    Raises:
        ForbiddenPickle: it names a type or function that is no data; the message says which.
        Exception: a damaged pickle, of almost any kind.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    # What the machine has and no stub names.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: ByteSource) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMED[module, name]
        except KeyError:
            raise ForbiddenPickle(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Storage:
        """Where torch keeps the numbers of tensors: ``("storage", type, key, device, length)``."""
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] not in ("storage", b"storage"):
            raise ForbiddenPickle(f"an object outside the pickle: {str(pid)[:80]}")
        _, kind, key, _, length = pid[:5]
        if type(kind) is not _NumberType or type(key) is not str or type(length) is not int or length < 0:
            raise pickle.UnpicklingError("a storage of an unknown kind")
        if len(pid) == 6 and pid[5] is not None:
            raise pickle.UnpicklingError("a view of a storage, as PyTorch wrote before 0.4")
        storage = Storage(key, kind.dtype, length)
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f"storage {key} is described in two ways")
        return storage

    def _call(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not any(function is known for known in _CALLABLE):
            raise ForbiddenPickle(f"a call of {str(function)[:80]}")
        self.stack[-1] = function(*arguments)

    def _new(self) -> None:
        arguments = self.stack.pop()
        kind = self.stack.pop()
        if kind is not argparse.Namespace or arguments != ():
            raise ForbiddenPickle(f"an object of {str(kind)[:80]}")
        self.append(argparse.Namespace())

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, np.dtype):
            if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|", "="):
                raise pickle.UnpicklingError("numbers of another byte order")
        elif type(target) in (argparse.Namespace, OrderedDict) and type(state) is dict:
            # OrderedDict: state dicts of modules carry the versions of their modules in an attribute.
            names = [name for name in state if type(name) is not str or name.startswith("__")]
            if names:
                raise ForbiddenPickle(f"the attribute {names[0]!r}")
            vars(target).update(state)
        elif type(target) is not LazyTensor:
            raise ForbiddenPickle(f"attributes of {type(target).__name__}")

    def _append(self) -> None:
        value = self.stack.pop()
        _of(self.stack[-1], list).append(value)

    def _appends(self) -> None:
        values = self.pop_mark()
        _of(self.stack[-1], list).extend(values)

    def _set_item(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._put(_of(self.stack[-1], dict), key, value)

    def _set_items(self) -> None:
        values = self.pop_mark()
        target = _of(self.stack[-1], dict)
        for index in range(0, len(values), 2):
            self._put(target, values[index], values[index + 1])

    @staticmethod
    def _put(target: dict, key: Any, value: Any) -> None:
        if type(key) not in _KEYS:
            raise pickle.UnpicklingError(f"a dictionary with a key of type {type(key).__name__}")
        target[key] = value

    def _refuse(self) -> None:
        raise ForbiddenPickle("an object made in a way that checkpoints do not use")

    dispatch[pickle.REDUCE[0]] = _call
    dispatch[pickle.NEWOBJ[0]] = _new
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.APPEND[0]] = _append
    dispatch[pickle.APPENDS[0]] = _appends
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    for _code in (pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID,
                  pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.BYTEARRAY8, pickle.ADDITEMS,
                  pickle.INT, pickle.LONG, pickle.FLOAT, pickle.STRING, pickle.UNICODE):  # fmt: skip
        dispatch[_code[0]] = _refuse


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ForbiddenPickle(f"items of {type(value).__name__}")
    return value
