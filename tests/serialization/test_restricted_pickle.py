"""Pickles of checkpoints are read, and nothing they name is ever called."""

from __future__ import annotations

import argparse
import io
import os
import pickle
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from cmelt_plugin.serialization.restricted_pickle import ForbiddenPickle, LazyTensor, Unpickler


class Calls:
    """An object whose pickle calls ``function``."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def read(data: bytes):
    return Unpickler(io.BytesIO(data)).load()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_values_come_back(protocol: int) -> None:
    ordered = OrderedDict(a=1)
    ordered._metadata = {"": {"version": 1}}
    values = {
        "numbers": [1, -(2**70), 2.5, True, None, np.float64(3.5), np.float32(1.25), np.int64(7), np.bool_(True)],
        "texts": ("a", "ü", b"bytes", ""),
        "namespace": argparse.Namespace(lr=[0.1], name="x"),
        "ordered": ordered,
        "counter": Counter("abca"),
        "torch": [torch.float16, torch.Size([2, 3]), torch.device("cpu")],
        3: "a number as a key",
    }
    got = read(pickle.dumps(values, protocol=protocol))
    assert got == values and got["ordered"]._metadata == ordered._metadata
    assert [type(number) for number in got["numbers"]] == [type(number) for number in values["numbers"]]
    assert read(pickle.dumps({1, "a"}, protocol=2)) == {1, "a"}


@pytest.mark.parametrize(
    "call",
    [
        Calls(os.system, "touch {}"),
        Calls(eval, "open({!r}, 'w')"),
        Calls(exec, "open({!r}, 'w')"),
        Calls(open, "{}", "w"),
        Calls(os.mkdir, "{}"),
        Calls(getattr, os, "system"),
        Calls(__import__, "os"),
        Calls(torch.load, "{}"),
        Calls(torch.hub.load, "a/b", "c"),
        Calls(np.save, "{}", 1),
        Calls(argparse.FileType("w"), "{}"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_calls_are_refused(call, protocol: int, tmp_path) -> None:
    target = tmp_path / "touched"
    call.call = call.call[0], tuple(a.format(target) if isinstance(a, str) else a for a in call.call[1])
    with pytest.raises((ForbiddenPickle, pickle.PicklingError, TypeError)):
        read(pickle.dumps({"model": {}, "extra": call}, protocol=protocol))
    assert not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cargparse\nNamespace\n(I1\ntR.",  # called, not made anew
        b"cargparse\nNamespace\n)\x81}X\x09\x00\x00\x00__class__K\x01sb.",  # an attribute that is Python's
        b"ctorch\nTensor\n)R.",  # a class that is named and not called
        b"cbuiltins\nset\n}b.",  # attributes of a function
        b"ccollections\nOrderedDict\n(K\x01K\x02e.",  # items of a function
        b"(cos\nsystem\nX\x04\x00\x00\x00true\x6f.",  # OBJ
        b"(X\x04\x00\x00\x00trueios\nsystem\n.",  # INST
        b"X\x01\x00\x00\x00aQ.",  # an object outside of the pickle
        b"\x82\x01.",  # a registered extension
    ],
)
def test_other_ways_to_a_call_are_refused(data: bytes) -> None:
    with pytest.raises((ForbiddenPickle, KeyError, pickle.UnpicklingError)):
        read(b"\x80\x02" + data)


def storage(length: int) -> bytes:
    head = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ"
    return head + length.to_bytes(4, "little") + b"tQ"


def tensor(length: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + value.to_bytes(8, "little", signed=True) for value in values) + b"t"

    start = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
    return start + storage(length) + numbers((offset,))[1:-1] + numbers(shape) + numbers(stride) + b"\x89NtR."


def test_a_tensor_is_described_and_not_read() -> None:
    lazy = read(tensor(24, 4, (2, 5), (10, 2)))
    assert isinstance(lazy, LazyTensor) and lazy.shape == (2, 5) and lazy.stride == (10, 2) and lazy.offset == 4
    assert lazy.dtype == torch.float32 and lazy.storage.key == "0" and lazy.numel() == 10


@pytest.mark.parametrize(
    ("length", "offset", "shape", "stride"),
    [
        (22, 4, (2, 5), (10, 2)),  # one number short
        (10, 1, (10,), (1,)),
        (1, 0, (10**9, 10**9), (0, 0)),  # one number shown as 10^18
        (10, 0, (2**62, 4), (1, 1)),  # overflows
        (10, 0, (-1,), (1,)),
        (10, -1, (1,), (1,)),
        (10, 0, (2,), (-1,)),
        (10, 0, (2, 2), (1,)),
    ],
)
def test_shapes_beyond_the_storage_are_refused(length, offset, shape, stride) -> None:
    with pytest.raises(pickle.UnpicklingError):
        read(tensor(length, offset, shape, stride))
