"""Sequences for masked language modelling: sentences of a corpus, packed until the next one no longer fits.

As RoBERTa's FULL-SENTENCES (Liu et al. 2019): a sequence goes on with the next document where one ends, with the tokenizer's
end token between them, so that hardly anything is padding although most reports are short. Sentences of one document stay in
their order; a sentence longer than a sequence is cut.
"""

from __future__ import annotations

import numpy as np

from cmelt_plugin.data.corpus.tokens import CorpusTokens


class Packing:
    """What a corpus is packed from: U units, which are sentences, or parts of sentences that are too long.

    Args:
        tokens: of the corpus.
        length: most tokens of a sequence, special tokens included.

    Attributes:
        starts: int64 ``[U]``, first token of each unit; those of a document follow each other.
        lengths: int32 ``[U]``, its tokens.
        document: int32 ``[U]``, its document.
        document_units: int64 ``[n + 1]``; document ``d`` is units ``document_units[d]`` to ``document_units[d + 1]``.

    Raises:
        ValueError: nothing fits between a sequence's special tokens.
    """

    def __init__(self, tokens: CorpusTokens, length: int):
        self.tokens = tokens
        self.first, self.last = (np.array(tokens.info[name], dtype=np.int64) for name in ("first_ids", "last_ids"))
        self.room = length - len(self.first)
        most = self.room - len(self.last)
        if most < 1:
            raise ValueError(f"{length} tokens are too few for a sequence")
        lengths = np.diff(tokens.sentence_offsets)
        parts = -(-lengths // most)  # none of a sentence without tokens
        sentence = np.repeat(np.arange(len(lengths)), parts)
        part = _ranges(np.zeros_like(parts), parts)
        self.starts = tokens.sentence_offsets[:-1][sentence] + part * most
        self.lengths = np.minimum(lengths[sentence] - part * most, most).astype(np.int32)
        self.document_units = np.concatenate([[0], np.cumsum(parts)])[tokens.document_offsets]
        counts = np.diff(self.document_units)
        self.document = np.repeat(np.arange(len(counts), dtype=np.int32), counts)


class Sequences:
    """Q sequences of documents in a certain order.

    Args:
        packing: of the corpus.
        order: int ``[n]``, the documents in order.

    Attributes:
        units: int32 ``[U]``, the units in order.
        edges: int64 ``[Q + 1]``; sequence ``q`` is made of ``units[edges[q]:edges[q + 1]]``.
    """

    def __init__(self, packing: Packing, order: np.ndarray):
        self.packing = packing
        counts = np.diff(packing.document_units)
        self.units = _ranges(packing.document_units[:-1][order], counts[order]).astype(np.int32)
        end = len(packing.last)
        opens = np.diff(packing.document[self.units], prepend=-1) != 0  # the first unit of its document
        before = np.concatenate([[0], np.cumsum(packing.lengths[self.units] + end * opens)])
        edges = [0]
        while edges[-1] < len(self.units):
            start = edges[-1]
            limit = before[start] + packing.room - (0 if opens[start] else end)
            edges.append(int(np.searchsorted(before, limit, side="right")) - 1)
        self.edges = np.array(edges, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A sequence: ids int64 ``[l]``, and where words begin, bool ``[l]``; special tokens are words of their own."""
        packing = self.packing
        units = self.units[self.edges[number] : self.edges[number + 1]]
        ids, begins = [packing.first], [np.ones(len(packing.first), dtype=bool)]
        for run in np.split(units, np.flatnonzero(np.diff(packing.document[units])) + 1):
            start, stop = int(packing.starts[run[0]]), int(packing.starts[run[-1]] + packing.lengths[run[-1]])
            words = packing.tokens.begins_word.slice(start, stop)
            words[0] = True  # also where the cut went through a word
            ids += [packing.tokens.ids.slice(start, stop).astype(np.int64), packing.last]
            begins += [words, np.ones(len(packing.last), dtype=bool)]
        return np.concatenate(ids), np.concatenate(begins)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``starts[0], starts[0] + 1, …`` (``counts[0]`` of them), ``starts[1], …``: int64."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
