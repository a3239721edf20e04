"""Token ids of reports or class texts, computed once: ``reports.<tag>.npz`` and ``prompts.<tag>.npz``.

Training reads ids from here and never loads a tokenizer.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.data.directory.own_files import LABELS_FILE, REPORTS_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path, fingerprint, read_object
from cmelt_plugin.data.store.memory_maps import MappedArray, PickledWithoutArray, blocks, check_npz, map_npz
from cmelt_plugin.data.store.npy_files import read_npz
from cmelt_plugin.data.text.statement_spans import StatementTable, cut_spans
from cmelt_plugin.errors import DataError

if TYPE_CHECKING:
    from cmelt_plugin.data.text.reports import Reports

FORMAT = 2
READ_FORMATS = (1, 2)  # 1 knew no statements
NOT_INFO = ["ids", "offsets", "class_index", "statement_offsets", "statement_spans"]
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


class TokenTable(PickledWithoutArray):
    """Token ids of ``n`` texts, stored flat.

    Attributes:
        ids: int32 ``[total tokens]``, every text's ids one after the other, the tokenizer's special tokens included;
            memory-mapped in a table that was loaded.
        offsets: int64 ``[n + 1]``; text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
        info: ``format, tokenizer, fingerprint, source_fingerprint, vocab_size, pad_id, mask_id, special_ids, max_tokens``
            (``fingerprint`` is the tokenizer's, ``source_fingerprint`` that of the texts or of the file they came from); of
            reports also ``statements_fingerprint``, of prompts ``class_names``, the classes in the order that ``class_index``
            counts.
        class_index: int32 ``[n]``, the class each text describes (prompts only), else None.
        statements: where the statements of each report lie (reports only), else None.
    """

    large_array = "ids"

    def __init__(
        self,
        ids: np.ndarray | MappedArray,
        offsets: np.ndarray,
        info: dict[str, Any],
        class_index: np.ndarray | None = None,
        statements: StatementTable | None = None,
    ) -> None:
        """Check that the arrays and ``info`` belong together.

        Raises:
            DataError: an ``info`` key is missing, or offsets, ids, class indices or statements are out of range.
        """
        self._mapped = ids if isinstance(ids, MappedArray) else None
        for values in (self._mapped.array if self._mapped else ids, offsets, *(() if class_index is None else (class_index,))):
            if np.asarray(values).ndim != 1 or not np.issubdtype(np.asarray(values).dtype, np.integer):
                raise DataError("token table: ids, offsets and class indices must be lists of whole numbers")
        self.ids = ids.array if isinstance(ids, MappedArray) else np.ascontiguousarray(ids, dtype=np.int32)
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self.info = dict(info)
        self.class_index = None if class_index is None else np.ascontiguousarray(class_index, dtype=np.int32)
        self.statements = statements
        self._ends: tuple[int, int] | None = None
        self._check()

    def _check(self) -> None:
        check_info(self.info)
        if self.info["format"] not in READ_FORMATS:
            raise DataError(f"token table: format {self.info['format']}, this version reads formats 1 and {FORMAT}")
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
        if self.statements is not None:
            self.statements.check(self.lengths())
        names = self.info.get("class_names")
        if self.class_index is not None and self.class_index.size:
            limit = np.iinfo(np.int32).max if names is None else len(names)
            if self.class_index.min() < 0 or self.class_index.max() >= limit:
                raise DataError("token table: class indices of classes that do not exist")

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

    def spans(self, index: int, max_tokens: int | None = None) -> np.ndarray:
        """Where the statements of one text lie in its ids: int32 ``[S, 2]``, first token and end, in order, S >= 1.

        Statements without a token are left out. A table that knows no statements (class texts, format 1) has one for each text:
        all tokens but those that the tokenizer adds.

        Args:
            index: the text.
            max_tokens: of texts that are cut, see :func:`~cmelt_plugin.data.text.padding.cut`.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        length = int(self.offsets[index + 1] - self.offsets[index])
        if self.statements is None:
            before, after = self._added_tokens()
            spans = np.array([[before, length - after]], dtype=np.int32)
        else:
            spans = self.statements[index]
        return cut_spans(spans, length, length if max_tokens is None else max_tokens)

    def most_spans(self, max_tokens: int) -> int:
        """The largest S that :meth:`spans` gives for any text."""
        return 1 if self.statements is None else self.statements.most(self.lengths(), max_tokens)

    def _added_tokens(self) -> tuple[int, int]:
        """How many tokens the tokenizer adds before and after every text: special ones that all texts begin or end with."""
        if self._ends is None:
            shortest = int(self.lengths().min(initial=np.iinfo(np.int32).max)) if len(self) else 0
            starts, stops = self.offsets[:-1], self.offsets[1:]
            before = self._common(starts, 1, shortest)
            self._ends = before, self._common(stops - 1, -1, shortest - before)
        return self._ends

    def _common(self, places: np.ndarray, step: int, most: int) -> int:
        count = 0
        while count < most:
            ids = np.unique(self.ids[places + count * step])
            if len(ids) > 1 or ids[0] not in self.info["special_ids"]:
                break
            count += 1
        return count

    def has_statements_of(self, reports: Reports) -> bool:
        """Whether its spans are those of these reports' statements."""
        if self.statements is None:
            return len(reports.statements.flatten()) == len(reports)
        return self.info.get("statements_fingerprint") == reports.statements_fingerprint

    def save(self, path: str | os.PathLike) -> None:
        """Write the table to ``path`` (``.npz``), atomically."""
        info = np.frombuffer(json.dumps(self.info, ensure_ascii=False).encode("utf-8"), dtype=np.uint8)
        arrays: dict[str, Any] = {"ids": self.ids, "offsets": self.offsets, "info": info}
        if self.class_index is not None:
            arrays["class_index"] = self.class_index
        if self.statements is not None:
            arrays.update(self.statements.arrays())
        with replacing(Path(path).parent, [Path(path).name]), atomic_path(path) as temporary:
            np.savez(temporary, **arrays)

    @classmethod
    def load(
        cls, path: str | os.PathLike, source_path: str | os.PathLike | None = None, *, statements: bool = False
    ) -> TokenTable:
        """Read a table; with ``source_path`` also check that it was made from the texts of that file.

        The ids stay in the file, checked once from beginning to end; processes share what they read of them. Class texts are
        also checked against the order of the classes in ``labels.json``.

        Args:
            path: the ``.npz`` file.
            source_path: ``reports.parquet`` or ``prompts.json`` whose texts it should hold.
            statements: whether its statements must be those of ``source_path``, too.

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
            spans = StatementTable.of_arrays(arrays)
            table = cls(
                ids if mapped and ids is not None else arrays["ids"], arrays["offsets"], info, arrays.get("class_index"), spans
            )
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; {rerun}") from None
        except DataError as error:
            raise DataError(f"{path}: {error}; {rerun}") from None
        except (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{path}: damaged or not a token table ({error}); {rerun}") from None
        except (KeyError, ValueError, TypeError, AttributeError, EOFError, OverflowError) as error:
            raise DataError(f"{path}: damaged or not a token table ({error}); {rerun}") from None
        if source_path is not None:
            # Late: reports are Parquet, which serving a model does not read.
            from cmelt_plugin.data.text.report_fingerprints import known_fingerprints
            from cmelt_plugin.data.text.reports import read_reports

            if not Path(source_path).is_file():
                raise DataError(f"{source_path}: no such file, although {path.name} was made from it")
            is_reports = Path(source_path).name == REPORTS_FILE
            known = known_fingerprints(source_path) if is_reports else (fingerprint(source_path),)
            if info["source_fingerprint"] not in known:
                raise DataError(f"{path}: stale, {Path(source_path).name} has changed since it was made; {rerun}")
            # By their own fingerprint, so that files made from tables of format 1 stay valid when it is upgraded.
            table.info["source_fingerprint"] = known[0]
            if statements and is_reports and not table.has_statements_of(read_reports(Path(source_path).parent)):
                raise DataError(f"{path}: does not hold the statements of {Path(source_path).name}; {rerun}")
        labels = path.parent / LABELS_FILE
        if "class_names" in info and labels.is_file() and read_object(labels).get("names") != info["class_names"]:
            raise DataError(f"{path}: stale, made for other classes, or another order of them, than {labels.name}; {rerun}")
        return table


def read_info(path: str | os.PathLike) -> dict[str, Any]:
    """The description in a token file (:attr:`TokenTable.info`), without reading any ids.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        info = json.loads(read_npz(path, without=NOT_INFO)["info"].tobytes().decode("utf-8"))
        check_info(info)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (DataError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: damaged or not a token table ({error}); make it again with preprocess/tokenizer.py") from None
    return info


def check_info(info: dict[str, Any], required: Sequence[str] = REQUIRED) -> None:
    """Refuse a description that lacks a ``required`` entry, and numbers that make no sense. Raises DataError."""
    missing = [key for key in required if key not in info]
    if missing:
        raise DataError(f"token table: info lacks {', '.join(missing)}")
    numbers = {key: info[key] for key in ("vocab_size", "pad_id", "mask_id", "max_tokens") if key in required}
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
