"""How much of the wording of reference reports generated ones have: BLEU, ROUGE-L, METEOR, and how many are the same.

Computed by the libraries that papers use. Texts are in the normal form of reports, one reference each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmelt_plugin.errors import DataError

__all__ = ["TextOverlap"]

_ORDERS = 4  # of BLEU's n-grams


class TextOverlap:
    """The metrics as sums over records, so that those of a resample of records come from sums, too.

    ``bleu`` is that of the corpus, by sacreBLEU (Post 2018) with its default tokenizer and smoothing, over 100; ``rouge_l``
    (Lin 2004) and ``meteor`` (Banerjee and Lavie 2005) are means over records, of F-measures of words; ``exact`` is the share
    of records whose text is the reference.

    Attributes:
        notes: how BLEU was computed, and whether METEOR knows synonyms, which NLTK takes from WordNet, a download of its own.

    Raises:
        DataError: a library is not installed.
    """

    def __init__(self) -> None:
        try:
            from nltk.corpus import wordnet
            from nltk.translate.meteor_score import single_meteor_score
            from rouge_score.rouge_scorer import RougeScorer
            from sacrebleu.metrics.bleu import BLEU
        except ImportError as error:
            raise DataError(
                f"{error.name} is not installed: BLEU, ROUGE-L and METEOR need pip install 'cmelt-plugin[generation]'"
            ) from None
        self._bleu = BLEU()
        self._of_one = BLEU(effective_order=True)  # counts of a single text, without sacreBLEU's warning that they are few
        self._rouge = RougeScorer(["rougeL"], tokenizer=_Words())
        self._meteor = single_meteor_score
        self._synonyms: Any = wordnet
        synonyms = "with synonyms of WordNet"
        try:
            wordnet.synsets("well")  # of all four parts of speech: each has a file, which is opened when it is first needed
        except Exception as error:  # a damaged download raises anything, and reports can be compared without it
            self._synonyms = _NoSynonyms()
            remedy = "python -m nltk.downloader wordnet"
            why = "is not installed" if isinstance(error, LookupError) else f"cannot be read ({type(error).__name__})"
            synonyms = f"of words and stems, without synonyms: NLTK's WordNet {why}; {remedy}"
        self.notes = [f"BLEU: sacreBLEU, {self._signature()}.", f"METEOR: {synonyms}."]
        self._known: dict[tuple[str, str], list[float]] = {}

    def columns(self, generated: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """What N records bring to the sums, float64 ``[N, K]``."""
        if len(generated) != len(references):
            raise ValueError(f"{len(generated)} texts for {len(references)} references")
        return np.array([self._columns_of(*pair) for pair in zip(generated, references)])

    def metrics(self, sums: np.ndarray) -> Mapping[str, float]:
        """``bleu``, ``rouge_l``, ``meteor``, ``exact`` of sums of columns ``[K]``."""
        counts, totals = (list(map(int, part)) for part in (sums[:_ORDERS], sums[_ORDERS : 2 * _ORDERS]))
        length, reference_length, rouge, meteor, exact, records = sums[2 * _ORDERS :]
        bleu = self._bleu.compute_bleu(counts, totals, int(length), int(reference_length), smooth_method="exp")
        means = {"rouge_l": rouge / records, "meteor": meteor / records, "exact": exact / records}
        return {"bleu": bleu.score / 100, **means}

    def _columns_of(self, generated: str, reference: str) -> list[float]:
        pair = generated, reference
        if pair not in self._known:
            counts = self._of_one.sentence_score(generated, [reference])
            rouge = self._rouge.score(reference, generated)["rougeL"].fmeasure
            words = reference.split(), generated.split()
            meteor = self._meteor(*words, wordnet=self._synonyms) if all(words) else 0.0
            rest = [counts.sys_len, counts.ref_len, rouge, meteor, generated == reference, 1]
            self._known[pair] = [*counts.counts, *counts.totals, *map(float, rest)]
        return self._known[pair]

    def _signature(self) -> str:
        self._bleu.corpus_score(["a"], [["a"]])  # it knows how many references there are only afterwards
        return str(self._bleu.get_signature())


class _Words:
    """Words of normalised texts, of any script: rouge-score's own tokenizer drops all letters but a to z."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


class _NoSynonyms:
    """In WordNet's place."""

    def synsets(self, word: str) -> list[Any]:
        return []
