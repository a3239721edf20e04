"""Reading checkpoint files (``.pt``) safely and whole: the one reader behind ``load_pretrained`` and both hosts.

A checkpoint is a ZIP archive (PyTorch >= 1.6) of a pickle and of the numbers of its tensors. PyTorch reads it without a
look at the archive's checksums; here every byte that is used is compared with them. The pickle goes through
:mod:`cmelt_plugin.serialization.restricted_pickle`, which runs nothing. Older files (a pickle with the numbers behind it)
carry no checksums; they are read, but damage inside their numbers cannot be seen.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.serialization.restricted_pickle import ForbiddenPickle, LazyTensor, Storage, Unpickler
from cmelt_plugin.serialization.tensor_trees import lazy_tensors, replace_tensors
from cmelt_plugin.serialization.weight_checks import check_finite, check_weights

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
BLOCK = 1 << 20  # read and summed at once: small enough for the caches of a core
_HEADER = struct.Struct("<4s5H3L2H")  # in front of every entry of a ZIP archive


class DamagedCheckpoint(DataError):
    """A checkpoint that is not, or no longer, what was written."""


class _Place(NamedTuple):
    """Bytes of a file: where they begin, how many there are, and their CRC-32 where it is known."""

    start: int
    size: int
    crc: int | None


class CheckpointFile:
    """A checkpoint whose structure has been read and whose tensors have not.

    Args:
        path: the file.

    Attributes:
        tree: what was saved, with a :class:`LazyTensor` in place of every tensor.
        checksums: whether the file carries checksums.

    Raises:
        DamagedCheckpoint: not a checkpoint, or a damaged one.
        DataError: no such file, or one that holds more than data.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        if not os.path.isfile(self.path):
            raise DataError(f"{self.path}: no such checkpoint")
        self.places: dict[str, _Place] = {}
        self._buffers: dict[str, Tensor] = {}
        with _translated(self.path), open(self.path, "rb") as file:
            self.checksums = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            self.tree = self._read_archive(file) if self.checksums else self._read_legacy(file)

    def load(self, tree: Any) -> Any:
        """``tree``, or a part of it, with every tensor read and compared with the checksum of its bytes.

        Raises:
            DamagedCheckpoint: bytes that are not those that were written.
        """
        with _translated(self.path):
            wanted: dict[str, Storage] = {}
            for tensor in lazy_tensors(tree):
                wanted[tensor.storage.key] = tensor.storage
            missing = [key for key in wanted if key not in self._buffers]
            # Reading and summing leave Python to other threads.
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                for key, buffer in zip(missing, pool.map(lambda key: self._read(wanted[key]), missing)):
                    self._buffers[key] = buffer
            return replace_tensors(tree, self._tensor)

    def check(self, progress: Callable[[int], None] | None = None) -> None:
        """Compare every byte with its checksum; ``progress`` hears how many bytes were read.

        Raises:
            DamagedCheckpoint: bytes that are not those that were written; the message names the entry.
        """
        with _translated(self.path), open(self.path, "rb", buffering=0) as file:
            block = bytearray(BLOCK)
            for name, place in self.places.items():
                crc = 0
                file.seek(place.start)
                for start in range(0, place.size, BLOCK):
                    part = memoryview(block)[: min(BLOCK, place.size - start)]
                    _fill(file, part)
                    crc = zlib.crc32(part, crc)
                    if progress is not None:
                        progress(len(part))
                if place.crc is not None and crc != place.crc:
                    raise DamagedCheckpoint(f"{self.path}: damaged: the checksum of its entry {name!r} is wrong")

    # -- The two formats -----------------------------------------------------------------------------------------------

    def _read_archive(self, file: BinaryIO) -> Any:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        roots = {entry.filename.split("/", 1)[0] for entry in entries}
        if len(roots) != 1 or len({entry.filename for entry in entries}) != len(entries):
            raise pickle.UnpicklingError("an archive, but none of torch.save")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
                raise pickle.UnpicklingError("a compressed or encrypted archive, as torch.save writes none")
            file.seek(entry.header_offset)
            signature, *_, name_length, extra_length = _HEADER.unpack(file.read(_HEADER.size))
            start = entry.header_offset + _HEADER.size + name_length + extra_length
            if signature != b"PK\x03\x04" or start + entry.file_size > size:
                raise pickle.UnpicklingError("an entry beyond the end of the file")
            name = entry.filename.split("/", 1)[-1]
            self.places[name] = _Place(start, entry.file_size, entry.CRC)
        if "constants.pkl" in self.places:
            raise ForbiddenPickle("a TorchScript program")
        if "data.pkl" not in self.places:
            raise pickle.UnpicklingError("an archive, but none of torch.save")
        order = self._entry(file, "byteorder") if "byteorder" in self.places else b"little"
        if order.decode("ascii") != sys.byteorder:
            raise pickle.UnpicklingError("written on a machine of another byte order")
        unpickler = Unpickler(io.BytesIO(self._entry(file, "data.pkl")))
        tree = unpickler.load()
        for storage in unpickler.storages.values():
            place = self.places.get(f"data/{storage.key}")
            if place is None or place.size != storage.length * _width(storage):
                raise pickle.UnpicklingError(f"data/{storage.key} is not of the size that data.pkl says")
        return tree

    def _entry(self, file: BinaryIO, name: str) -> bytes:
        place = self.places[name]
        file.seek(place.start)
        data = file.read(place.size)
        if zlib.crc32(data) != place.crc:
            raise DamagedCheckpoint(f"{self.path}: damaged: the checksum of its entry {name!r} is wrong")
        return data

    def _read_legacy(self, file: BinaryIO) -> Any:
        size = os.fstat(file.fileno()).st_size
        reader = _Bounded(file, size)
        try:
            head = [Unpickler(reader).load() for _ in range(2)]
        except ForbiddenPickle:
            head = []
        if head != [LEGACY_MAGIC, LEGACY_PROTOCOL]:
            raise pickle.UnpicklingError("no file of torch.save")
        system = Unpickler(reader).load()
        if system.get("little_endian") is not (sys.byteorder == "little"):
            raise pickle.UnpicklingError("written on a machine of another byte order")
        unpickler = Unpickler(reader)
        tree = unpickler.load()
        keys = Unpickler(reader).load()
        if type(keys) is not list or not all(type(key) is str for key in keys) or not set(unpickler.storages) <= set(keys):
            raise pickle.UnpicklingError("its list of storages is damaged")
        for key in keys:
            length = struct.unpack("<q", file.read(8))[0]
            storage = unpickler.storages.get(key)
            start = file.tell()
            if storage is None or length != storage.length or start + length * _width(storage) > size:
                raise pickle.UnpicklingError(f"storage {key} is not of the size that the pickle says")
            self.places[f"data/{key}"] = _Place(start, length * _width(storage), None)
            file.seek(start + length * _width(storage))
        return tree

    # -- Tensors -------------------------------------------------------------------------------------------------------

    def _read(self, storage: Storage) -> Tensor:
        place = self.places[f"data/{storage.key}"]
        buffer = torch.empty(place.size, dtype=torch.uint8)
        view = buffer.numpy().data
        crc = 0
        with open(self.path, "rb", buffering=0) as file:
            file.seek(place.start)
            for start in range(0, place.size, BLOCK):
                part = view[start : start + BLOCK]
                _fill(file, part)
                if place.crc is not None:
                    crc = zlib.crc32(part, crc)
        if place.crc is not None and crc != place.crc:
            raise DamagedCheckpoint(f"{self.path}: damaged: the checksum of its entry 'data/{storage.key}' is wrong")
        return buffer

    def _tensor(self, lazy: LazyTensor) -> Tensor:
        storage = self._buffers[lazy.storage.key].untyped_storage()
        tensor = torch.empty(0, dtype=lazy.dtype).set_(storage, lazy.offset, lazy.shape, lazy.stride)
        return torch.nn.Parameter(tensor, lazy.requires_grad) if lazy.is_parameter else tensor


def load_checkpoint(path: str | os.PathLike, entries: Collection[str] | None = None) -> Any:
    """What ``torch.load`` gives, on the CPU; of a dictionary only ``entries``, where they are named.

    Raises:
        DamagedCheckpoint, DataError: as :class:`CheckpointFile` and :meth:`CheckpointFile.load`.
    """
    file = CheckpointFile(path)
    tree = file.tree
    if entries is not None and isinstance(tree, dict):
        tree = {name: value for name, value in tree.items() if name in entries}
    return file.load(tree)


def open_state(path: str | os.PathLike) -> CheckpointFile:
    """A checkpoint of a host, not read yet: a dictionary with the weights under ``model``, names and tensors.

    Raises:
        DataError: any other file.
    """
    file = CheckpointFile(path)
    if not isinstance(file.tree, dict) or "model" not in file.tree:
        raise DataError(f"{path}: a checkpoint of fairseq or fairseq-signals has an entry 'model', this file has none")
    check_weights(file.tree["model"], path)
    return file


def load_state(
    path: str | os.PathLike,
    entries: Collection[str] | None = None,
    check: Callable[[dict[str, Any], str], None] | None = None,
) -> dict[str, Any]:
    """A host's checkpoint on the CPU: ``model``, ``cfg``, ``task_state``, …; every byte that is read is checked.

    Args:
        path: the file.
        entries: what of it is wanted besides ``model``; None: everything. An optimiser's state is twice the weights.
        check: called with the structure and the path before tensors are read; may raise DataError.

    Raises:
        DamagedCheckpoint: it is damaged.
        DataError: no such file, another file, one that holds more than data, weights that are not finite, or what ``check``
            refuses.
    """
    file = open_state(path)
    tree = file.tree
    if check is not None:
        check(tree, file.path)
    if entries is not None:
        tree = {name: value for name, value in tree.items() if name == "model" or name in entries}
    state = file.load(tree)
    check_finite(state["model"], path)
    return state


def _width(storage: Storage) -> int:
    return 1 if storage.dtype is None else storage.dtype.itemsize


def _fill(file: BinaryIO, part: memoryview) -> None:
    while len(part):
        count = file.readinto(part)  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the file ends early")
        part = part[count:]


class _Bounded:
    """A file that is never asked for more bytes than it has: a length in a damaged pickle would take memory for them."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.size))

    def readline(self) -> bytes:
        return self.file.readline(1000)


class _translated:
    """Errors of reading as DataError: whatever a damaged file makes the readers stumble over names the file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, DataError):
            return
        if isinstance(error, ForbiddenPickle):
            raise DataError(
                f"{self.path}: not a readable checkpoint: it holds more than data ({error}), and reading that could run code"
            ) from None
        if isinstance(error, MemoryError):
            raise DataError(f"{self.path}: not enough memory to read it") from None
        if isinstance(error, OSError) and not isinstance(error, EOFError):
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedCheckpoint(f"{self.path}: not a readable checkpoint, or a damaged one ({text[:200]})") from None
