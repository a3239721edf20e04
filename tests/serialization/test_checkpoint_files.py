"""Checkpoints come back as ``torch.load`` would give them, or not at all."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
import zipfile
from argparse import Namespace
from collections import OrderedDict

import numpy as np
import pytest
import torch

from cmelt_plugin.errors import DataError
from cmelt_plugin.serialization.checkpoint_files import CheckpointFile, DamagedCheckpoint, load_checkpoint, open_state
from cmelt_plugin.serialization.weight_checks import check_finite

FLIPS = 400


def example() -> dict:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(6, 4, generator=generator)
    model = OrderedDict(weight=shared, tied=shared, turned=shared.t(), part=shared[2:, 1], none=torch.zeros(0, 3))
    model._metadata = OrderedDict([("", {"version": 1})])
    model.update(
        {f"kind.{kind}": torch.arange(5).to(kind) for kind in (torch.float16, torch.bfloat16, torch.int64, torch.bool)}
    )
    parameter = torch.nn.Parameter(torch.randn(3, generator=generator))
    return {
        "model": model,
        "cfg": {"model": {"dim": 3}, "old": Namespace(lr=0.1, weight=torch.ones(2))},
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.randn(50, generator=generator), "step": 3}}},
        "metrics": [(10, "loss", {"sum": torch.tensor(3.0), "value": np.float64(0.25)})],
        "parameter": parameter,
    }


@pytest.fixture(params=[True, False], ids=["archive", "legacy"])
def path(request, tmp_path):
    torch.save(example(), tmp_path / "x.pt", _use_new_zipfile_serialization=request.param)
    return tmp_path / "x.pt"


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return type(a) is type(b) and a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return same(vars(a), vars(b)) if isinstance(a, Namespace) else type(a) is type(b) and a == b


def test_everything_is_as_torch_reads_it(path) -> None:
    expected = torch.load(path, weights_only=False)
    got = load_checkpoint(path)
    assert same(expected, got)
    assert got["model"]._metadata == expected["model"]._metadata
    assert got["parameter"].requires_grad
    model = got["model"]
    assert len({model[name].untyped_storage().data_ptr() for name in ("weight", "tied", "turned", "part")}) == 1


def test_entries_that_are_not_asked_for_are_not_read(path, monkeypatch) -> None:
    keys = []
    read = CheckpointFile._read
    monkeypatch.setattr(CheckpointFile, "_read", lambda self, storage: keys.append(storage.key) or read(self, storage))
    assert set(load_checkpoint(path, ("cfg",))) == {"cfg"}
    assert len(keys) == 1


def test_a_flip_anywhere_is_found_or_changes_nothing(tmp_path) -> None:
    path = tmp_path / "x.pt"
    torch.save(example(), path)
    expected, data = load_checkpoint(path), path.read_bytes()
    rng, found = random.Random(0), 0
    for _ in range(FLIPS):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            assert same(load_checkpoint(path), expected)
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            found += 1
    assert found > FLIPS / 4


def test_numbers_are_compared_with_their_checksums(tmp_path) -> None:
    """torch.load reads such a file without a word."""
    path = tmp_path / "x.pt"
    torch.save({"model": {"weight": torch.zeros(1000)}}, path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        (entry,) = [info for info in archive.infolist() if info.filename.endswith("data/0")]
    data[entry.header_offset + 2000] ^= 1
    path.write_bytes(data)
    assert torch.load(path, weights_only=True)["model"]["weight"].any()
    with pytest.raises(DamagedCheckpoint, match="x.pt: damaged: the checksum of its entry 'data/0' is wrong"):
        load_checkpoint(path)
    with pytest.raises(DamagedCheckpoint, match="damaged"):
        CheckpointFile(path).check()


def test_every_cut_is_found(path) -> None:
    data = path.read_bytes()
    for size in [*range(0, 40), *range(40, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        # In the older format half the name of a type is the name of no type.
        with pytest.raises(DamagedCheckpoint if data[:2] == b"PK" else DataError, match="x.pt"):
            load_checkpoint(path)


def test_checking_reads_every_byte_and_says_how_many(path) -> None:
    counts: list[int] = []
    file = CheckpointFile(path)
    file.check(counts.append)
    assert sum(counts) == sum(place.size for place in file.places.values()) > 300
    assert file.checksums == (b"PK" == path.read_bytes()[:2])


def test_lengths_that_lie_take_no_memory(path) -> None:
    """Four bytes of a name's length claim two gigabytes."""
    data = path.read_bytes()
    at = data.index(b"X\x05\x00\x00\x00model")
    lies = bytearray(data)
    lies[at + 1 : at + 5] = b"\xff\xff\xff\x7f"
    path.write_bytes(lies)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            load_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_other_archives_and_files_are_refused(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a/b.txt", "hello")
    torch.save(example(), tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for info in source.infolist():
            small.writestr(info.filename, source.read(info))
    with zipfile.ZipFile(tmp_path / "x.pt") as source, zipfile.ZipFile(tmp_path / "twice.pt", "w") as twice:
        for info in [*source.infolist(), source.infolist()[0]]:
            twice.writestr(info.filename, source.read(info))
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        info = tarfile.TarInfo("pickle")
        info.size = 10
        archive.addfile(info, io.BytesIO(b"0123456789"))
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("no checkpoint")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("other.zip", "small.pt", "twice.pt", "old.tar", "program.pt", "empty.pt", "text.pt", "array.npy"):
        with pytest.raises(DataError, match=f"{name}: not a readable checkpoint"):
            load_checkpoint(tmp_path / name)
    with pytest.raises(DataError, match="no such checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("model", [None, [], {}, 3, {"a": None}, {"a": [1]}, {3: torch.zeros(1)}])
def test_weights_are_names_and_tensors(model, tmp_path) -> None:
    torch.save({"model": model}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="entry 'model' holds"):
        open_state(tmp_path / "x.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_named(value, dtype) -> None:
    large = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)  # their sum overflows and they are right
    weights = {"ids": torch.arange(3), "empty": torch.zeros(0), "large": large, "bad": torch.zeros(5, 5, dtype=dtype)}
    check_finite(weights, "x.pt")
    weights["bad"][3, 3] = value
    with pytest.raises(DataError, match="x.pt: the weight bad is not finite"):
        check_finite(weights, "x.pt")
