"""Token ids of reports or class texts, computed once: ``reports.<tag>.npz`` and ``prompts.<tag>.npz``.

Training reads ids from here and never loads a tokenizer.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.data.directory.own_files import LABELS_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path, fingerprint, read_object
from cmelt_plugin.data.store.memory_maps import MappedArray, blocks, check_npz, map_npz
from cmelt_plugin.data.store.npy_files import read_npz
from cmelt_plugin.errors import DataError

FORMAT = 1
REQUIRED = (
    "format",
    "tokenizer",
    "fingerprint",
    "source_fingerprint",
    "vocab_size",
    "pad_id",
    "mask_id",
    "special_ids",
    "max_tokens",
)


class TokenTable:
    """Token ids of ``n`` texts, stored flat.

    Attributes:
        ids: int32 ``[total tokens]``, every text's ids one after the other, the tokenizer's special tokens included;
            memory-mapped in a table that was loaded.
        offsets: int64 ``[n + 1]``; text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
        info: ``format, tokenizer, fingerprint, source_fingerprint, vocab_size, pad_id, mask_id, special_ids, max_tokens``
            (``fingerprint`` is the tokenizer's, ``source_fingerprint`` that of the file the texts came from); of prompts
            also ``class_names``, the classes in the order that ``class_index`` counts.
        class_index: int32 ``[n]``, the class each text describes (prompts only), else None.
    """

    def __init__(
        self,
        ids: np.ndarray | MappedArray,
        offsets: np.ndarray,
        info: dict[str, Any],
        class_index: np.ndarray | None = None,
    ) -> None:
        """Check that the arrays and ``info`` belong together.

        Raises:
            DataError: an ``info`` key is missing, or offsets, ids or class indices are out of range.
        """
        self._mapped = ids if isinstance(ids, MappedArray) else None
        for values in (self._mapped.array if self._mapped else ids, offsets, *(() if class_index is None else (class_index,))):
            if np.asarray(values).ndim != 1 or not np.issubdtype(np.asarray(values).dtype, np.integer):
                raise DataError("token table: ids, offsets and class indices must be lists of whole numbers")
        self.ids = ids.array if isinstance(ids, MappedArray) else np.ascontiguousarray(ids, dtype=np.int32)
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self.info = dict(info)
        self.class_index = None if class_index is None else np.ascontiguousarray(class_index, dtype=np.int32)
        self._check()

    def _check(self) -> None:
        missing = [key for key in REQUIRED if key not in self.info]
        if missing:
            raise DataError(f"token table: info lacks {', '.join(missing)}")
        if self.info["format"] != FORMAT:
            raise DataError(f"token table: format {self.info['format']}, this version reads format {FORMAT}")
        _check_info(self.info)
        offsets = self.offsets
        if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(self.ids):
            raise DataError("token table: offsets do not span the ids")
        if (np.diff(offsets) < 0).any():
            raise DataError("token table: offsets decrease")
        for _, ids in blocks(self.ids, self._mapped):
            if ids.min() < 0 or ids.max() >= self.info["vocab_size"]:
                raise DataError(f"token table: ids outside 0..{self.info['vocab_size'] - 1}")
        if self.class_index is not None and self.class_index.shape != (len(self),):
            raise DataError(f"token table: {self.class_index.size} class indices for {len(self)} texts")
        names = self.info.get("class_names")
        if self.class_index is not None and self.class_index.size:
            limit = np.iinfo(np.int32).max if names is None else len(names)
            if self.class_index.min() < 0 or self.class_index.max() >= limit:
                raise DataError("token table: class indices of classes that do not exist")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "ids": self.ids if self._mapped is None else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._mapped is not None:
            self.ids = self._mapped.array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """Ids of one text, int32 ``[tokens]`` (a copy). Negative indices raise: -1 means "no report" in manifests."""
        if not 0 <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        return self.ids[start:stop].copy() if self._mapped is None else self._mapped.slice(start, stop)

    def lengths(self) -> np.ndarray:
        """Tokens per text, int64 ``[n]``."""
        return np.diff(self.offsets)

    def save(self, path: str | os.PathLike) -> None:
        """Write the table to ``path`` (``.npz``), atomically."""
        info = np.frombuffer(json.dumps(self.info, ensure_ascii=False).encode("utf-8"), dtype=np.uint8)
        arrays = {"ids": self.ids, "offsets": self.offsets, "info": info}
        if self.class_index is not None:
            arrays["class_index"] = self.class_index
        with replacing(Path(path).parent, [Path(path).name]), atomic_path(path) as temporary:
            np.savez(temporary, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike, source_path: str | os.PathLike | None = None) -> TokenTable:
        """Read a table; with ``source_path`` also check that it was made from that very file.

        The ids stay in the file, checked once from beginning to end; processes share what they read of them. Class texts are
        also checked against the order of the classes in ``labels.json``.

        Args:
            path: the ``.npz`` file.
            source_path: ``reports.parquet`` or ``prompts.json`` whose texts it should hold.

        Raises:
            DataError: the file is missing or damaged, or was made from another version of ``source_path``.
        """
        path = Path(path)
        rerun = f"make it with `python preprocess/tokenizer.py --manifest {path.parent} … --overwrite`"
        listed = check_listed(path)
        try:
            ids = map_npz(path, "ids")
            mapped = ids is not None and ids.array.dtype == np.int32 and ids.array.ndim == 1
            if mapped and not listed:
                check_npz(path, "ids")
            arrays = read_npz(path, without=["ids"] if mapped else [])
            info = json.loads(arrays["info"].tobytes().decode("utf-8"))
            if not isinstance(info, dict):
                raise ValueError("its description is not an object")
            table = cls(ids if mapped else arrays["ids"], arrays["offsets"], info, arrays.get("class_index"))
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; {rerun}") from None
        except DataError as error:
            raise DataError(f"{path}: {error}; {rerun}") from None
        except (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{path}: damaged or not a token table ({error}); {rerun}") from None
        except (KeyError, ValueError, TypeError, AttributeError, EOFError, OverflowError) as error:
            raise DataError(f"{path}: damaged or not a token table ({error}); {rerun}") from None
        if source_path is not None:
            if not Path(source_path).is_file():
                raise DataError(f"{source_path}: no such file, although {path.name} was made from it")
            if fingerprint(source_path) != info["source_fingerprint"]:
                raise DataError(f"{path}: stale, {Path(source_path).name} has changed since it was made; {rerun}")
        labels = path.parent / LABELS_FILE
        if "class_names" in info and labels.is_file() and read_object(labels).get("names") != info["class_names"]:
            raise DataError(f"{path}: stale, made for other classes, or another order of them, than {labels.name}; {rerun}")
        return table


def _check_info(info: dict[str, Any]) -> None:
    """Refuse numbers of ``info`` that make no sense."""
    numbers = {key: info[key] for key in ("vocab_size", "pad_id", "mask_id", "max_tokens")}
    special, names = info["special_ids"], info.get("class_names", [])
    if not isinstance(special, list) or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError("token table: its description is damaged")
    numbers.update((f"special id {number}", value) for number, value in enumerate(special))
    for key, value in numbers.items():
        if type(value) is not int or not 0 <= value < 2**31:
            raise DataError(f"token table: {key} is {value!r:.80}")
    if max(info["pad_id"], info["mask_id"], *special) >= info["vocab_size"]:
        raise DataError(f"token table: a special id is outside of 0..{info['vocab_size'] - 1}")
    for key in ("tokenizer", "fingerprint", "source_fingerprint"):
        if not isinstance(info[key], str):
            raise DataError(f"token table: {key} is {info[key]!r:.80}")
