"""Where the statements of a report lie in its token ids: spans ``(start, stop)``, half open, counted in tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cmelt_plugin.errors import DataError

__all__ = ["StatementTable", "cut_spans", "token_spans"]


class StatementTable:
    """Spans of the statements of n texts, stored flat.

    Attributes:
        offsets: int64 ``[n + 1]``; the statements of text ``i`` are ``spans[offsets[i]:offsets[i + 1]]``.
        spans: int32 ``[total statements, 2]``, first token and end, counted from the beginning of the text.
    """

    def __init__(self, offsets: np.ndarray, spans: np.ndarray) -> None:
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self.spans = np.ascontiguousarray(spans, dtype=np.int32)

    @classmethod
    def of_rows(cls, rows: Sequence[np.ndarray]) -> StatementTable:
        """From the spans int32 ``[S, 2]`` of each text."""
        return cls(np.cumsum([0, *map(len, rows)]), np.concatenate([np.empty((0, 2), dtype=np.int32), *rows]))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> StatementTable | None:
        """From the arrays of a file of token ids; None where it has none."""
        found = [arrays.get(name) for name in ("statement_offsets", "statement_spans")]
        for values, dimensions in zip(found, (1, 2)):
            if values is not None and (values.ndim != dimensions or not np.issubdtype(values.dtype, np.integer)):
                raise DataError("token table: statements must be lists of whole numbers")
        offsets, spans = found
        if offsets is None and spans is None:
            return None
        if offsets is None or spans is None:
            raise DataError("token table: statements without offsets, or offsets without statements")
        return cls(offsets, spans)

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file of token ids."""
        return {"statement_offsets": self.offsets, "statement_spans": self.spans}

    def most(self, lengths: np.ndarray, max_tokens: int) -> int:
        """How many statements a text has at most, after :func:`~cmelt_plugin.data.text.padding.cut`; at least 1.

        Args:
            lengths: int ``[n]``, tokens of each text.
            max_tokens: longer texts are cut.
        """
        text = np.repeat(np.arange(len(lengths)), np.diff(self.offsets))
        spans = _cut(self.spans, lengths[text][:, None], max_tokens)
        return max(1, int(np.bincount(text[spans[:, 0] < spans[:, 1]]).max(initial=1)))

    def check(self, lengths: np.ndarray) -> None:
        """Compare with the tokens of each text, int ``[n]``.

        Raises:
            DataError: a text has no statement, or spans are out of range, overlap or are out of order.
        """
        offsets, spans = self.offsets, self.spans
        if offsets.shape != (len(lengths) + 1,) or spans.shape != (offsets[-1], 2) or offsets[0] != 0:
            raise DataError("token table: statements are not those of its texts")
        if (np.diff(offsets) < 1).any():
            raise DataError("token table: a text without statements")
        limit = np.repeat(lengths, np.diff(offsets))
        follows = np.ones(len(spans), dtype=bool)
        follows[offsets[:-1]] = False
        overlap = follows[1:] & (spans[1:, 0] < spans[:-1, 1])
        if (spans[:, 0] < 0).any() or (spans[:, 1] < spans[:, 0]).any() or (spans[:, 1] > limit).any() or overlap.any():
            raise DataError("token table: statements outside of their text, or out of order")

    def __getitem__(self, index: int) -> np.ndarray:
        """Spans of one text, int32 ``[S, 2]``."""
        return self.spans[self.offsets[index] : self.offsets[index + 1]]


def token_spans(offsets: Sequence[Sequence[int]], special: Sequence[int], statements: Sequence[str]) -> np.ndarray:
    """Spans of statements in the tokens of the text ``" ".join(statements)``.

    A token belongs to the statement of its last character; one that stands for the blank before a statement, to that statement.
    Tokens the tokenizer adds belong to none. A statement that has no token, because all of its own were cut off or because the
    tokenizer makes nothing of its characters, has an empty span; where all are empty, the first has all tokens.

    Args:
        offsets: first character and end of each of L tokens, in characters of the text.
        special: L flags, 1 = added by the tokenizer.
        statements: S texts, at least one.

    Returns:
        int32 ``[S, 2]``, in order and disjoint.
    """
    lengths = np.array([len(statement) + 1 for statement in statements])
    stops = np.cumsum(lengths) - 1  # where a statement ends and the blank before the next stands
    places = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    position = np.flatnonzero(np.asarray(special) == 0)
    if not len(position):
        return _whole(len(statements), 0, len(places))
    last = np.maximum(places[position, 1] - 1, places[position, 0])
    owner = np.maximum.accumulate(np.searchsorted(stops, last, side="right"))
    first = np.searchsorted(owner, np.arange(len(statements) + 1))  # of the tokens of each statement, among ``position``
    edges = np.append(position, position[-1] + 1)[first]
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.int32)


def _whole(n: int, start: int, stop: int) -> np.ndarray:
    spans = np.full((n, 2), stop, dtype=np.int32)
    spans[0, 0] = start
    return spans


def cut_spans(spans: np.ndarray, length: int, max_tokens: int) -> np.ndarray:
    """Spans in a text of ``length`` tokens after :func:`~cmelt_plugin.data.text.padding.cut`.

    Returns:
        int32 ``[S', 2]``: of the S statements those that keep a token; never fewer than one.
    """
    spans = _cut(spans, length, max_tokens)
    kept = spans[spans[:, 0] < spans[:, 1]]
    return kept if len(kept) else _whole(1, 0, min(length, max_tokens))


def _cut(spans: np.ndarray, length: int | np.ndarray, max_tokens: int) -> np.ndarray:
    """``spans [S, 2]`` in texts of ``length`` tokens, a number or ``[S, 1]``, that are cut to ``max_tokens``."""
    cut = np.minimum(spans, max_tokens - 1)
    cut[spans == length] = max_tokens  # the text's last token, where it is no special one, goes with its statement
    return np.where(length > max_tokens, cut, spans)
