"""Sequences of a corpus with masked words, as mini-batches.

Which sentences make a sequence, and which of its words are masked, depends on (seed, epoch) and the sequence's number alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cmelt_plugin.data.batches.items import ItemDataset
from cmelt_plugin.data.batches.rng import epoch_generator, epoch_order, record_generators
from cmelt_plugin.data.corpus.sequences import Packing, Sequences
from cmelt_plugin.data.corpus.tokens import CorpusTokens
from cmelt_plugin.data.text.padding import pad
from cmelt_plugin.data.text.word_masking import WordMasker


@dataclass
class MaskedTextOptions:
    """How sequences are made and masked.

    Attributes:
        seed: of all randomness.
        train: documents in another order and other words masked every epoch; otherwise both are fixed.
        length: most tokens of a sequence.
        probability: share of words masked.
        whole_words: mask all tokens of a word or none; False: tokens by themselves.
    """

    seed: int = 1
    train: bool = True
    length: int = 256
    probability: float = 0.15
    whole_words: bool = True


class MaskedTextDataset(ItemDataset):
    """A split of a corpus; an item is a sequence of this epoch.

    A batch holds ``id [B]``, ``net_input`` = ``text`` (int64 ``[B, L]``, words masked), ``text_padding_mask`` (bool
    ``[B, L]``, True = padding) and ``positions`` (int64 ``[M]``, the masked places of the flattened batch), and ``target``
    (int64 ``[M]``, the words that stood there).

    Raises:
        ValueError: no sequence fits into so few tokens.
    """

    def __init__(self, tokens: CorpusTokens, options: MaskedTextOptions):
        super().__init__()
        self.tokens, self.options = tokens, options
        info = tokens.info
        self.mask_words = WordMasker(options.probability, info["mask_id"], info["vocab_size"], info["special_ids"])
        self.packing = Packing(tokens, options.length)
        self.sequences = self._packed()

    def _packed(self) -> Sequences:
        n = len(self.tokens.document_offsets) - 1
        order = epoch_order(self.options.seed, self.epoch, n) if self.options.train else np.arange(n)
        return Sequences(self.packing, order)

    def set_epoch(self, epoch: int) -> None:
        if epoch == self.epoch:
            return
        self.epoch = epoch
        if self.options.train:
            self.sequences = self._packed()

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return not self.options.train

    @property
    def sizes(self) -> np.ndarray:
        return np.full(len(self), self.options.length)

    def num_tokens(self, index: int) -> int:
        return self.options.length

    def size(self, index: int) -> int:
        return self.options.length

    def ordered_indices(self) -> np.ndarray:
        """Shuffled in training: the sequences of a long document are not to be in one batch."""
        if not self.options.train:
            return super().ordered_indices()
        return epoch_generator(self.options.seed, self.epoch).permutation(len(self))

    def collater(self, samples: Sequence[Any] | np.ndarray) -> dict[str, Any]:
        if len(samples) == 0:
            return {}
        rows, options = np.asarray(samples, dtype=np.int64), self.options
        texts, words = zip(*(self.sequences[int(row)] for row in rows))
        ids, padding = pad(texts, self.tokens.info["pad_id"])
        begins_word = None
        if options.whole_words:
            begins_word = np.ones(ids.shape, dtype=bool)
            begins_word[~padding] = np.concatenate(words)
        generators = record_generators(options.seed, self.epoch if options.train else 0, rows)
        uniforms = np.zeros((3, *ids.shape))  # zeros under padding are never looked at
        for row, generator in enumerate(generators):
            uniforms[:, row, : len(texts[row])] = generator.random((3, len(texts[row])))
        masked = self.mask_words(ids, padding, uniforms, begins_word)
        return {
            "id": torch.from_numpy(rows),
            "net_input": {
                "text": torch.from_numpy(masked.ids),
                "text_padding_mask": torch.from_numpy(padding),
                "positions": torch.from_numpy(np.flatnonzero(masked.mask)),
            },
            "target": torch.from_numpy(masked.target),
            "nsentences": len(rows),
            "nsignals": len(rows),
            "ntokens": int(np.count_nonzero(~padding)),
        }

    collator = collater  # fairseq-signals' spelling
