"""Findings that a report mentions: phrases of class texts among its words, affirmed or denied."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cmelt_plugin.data.text.negation import denied
from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.errors import DataError

__all__ = ["Mention", "Vocabulary"]

# Spellings that reports mix.
_SPELLINGS = {"a v": "av", "atrioventricular": "av", "1st": "first", "2nd": "second", "3rd": "third"}
_SPELLED = re.compile(rf"\b({'|'.join(_SPELLINGS)})\b")
# A text with one of these names more than one thing.
_COMPOUND = frozenset("and due mit och or oder suggest suggests und with without".split())
SHORTEST_WORD = 3  # letters of a term of one word: "st", "at" and "mi" stand for too much


class Mention(NamedTuple):
    """A finding in a report.

    Attributes:
        finding: the class.
        start, stop: first word and end.
        denied: whether the report says that it is not there.
    """

    finding: str
    start: int
    stop: int
    denied: bool


class Vocabulary:
    """The phrases by which classes are recognised.

    A class's phrases are its name and its texts, each up to the word "consider"; words of one or two letters are none. What is
    hedged ("possible", "cannot be excluded") counts as mentioned.

    Args:
        texts: class → texts.

    Attributes:
        findings: the classes, in order.

    Raises:
        DataError: a class without a phrase.
    """

    def __init__(self, texts: Mapping[str, Iterable[str]]) -> None:
        self.findings = [str(name) for name in texts]
        phrases = {str(name): {_phrase(text) for text in (*lines, str(name))} - {()} for name, lines in texts.items()}
        self._phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for name in self.findings:
            chosen = [phrase for phrase in phrases[name] if len(phrase) > 1 or len(phrase[0]) >= SHORTEST_WORD]
            if not chosen:
                raise DataError(
                    f"class {name}: no text by which a report could mention it; give it a phrase of two words or more"
                )
            for phrase in chosen:
                self._phrases.setdefault(phrase[0], []).append((phrase, name))

    def mentions(self, report: str) -> list[Mention]:
        """What a report mentions, from left to right; a finding may be mentioned several times.

        Args:
            report: a text; it is normalised here.
        """
        words = _words(report)
        found = self._longest([_stem(word) for word in words])
        places = sorted({(start, stop) for _, start, stop in found})
        outer = [place for place in places if not any(_inside(place, other) for other in places)]
        flags = dict(zip(outer, denied(words, outer)))
        owner = {place: next(other for other in outer if place == other or _inside(place, other)) for place in places}
        return [Mention(name, start, stop, flags[owner[start, stop]]) for name, start, stop in found]

    def findings_of(self, report: str) -> tuple[set[str], set[str]]:
        """The findings that a report affirms, and those that it only denies."""
        mentions = self.mentions(report)
        affirmed = {mention.finding for mention in mentions if not mention.denied}
        return affirmed, {mention.finding for mention in mentions} - affirmed

    def _longest(self, stems: Sequence[str]) -> list[tuple[str, int, int]]:
        """Class, first word and end of every phrase, less those inside a longer phrase that names one thing."""
        every = [
            (name, start, start + len(phrase))
            for start, word in enumerate(stems)
            for phrase, name in self._phrases.get(word, ())
            if tuple(stems[start : start + len(phrase)]) == phrase
        ]
        single = [(start, stop) for _, start, stop in every if not _COMPOUND.intersection(stems[start:stop])]
        return sorted(
            set(entry for entry in every if not any(_inside(entry[1:], place) for place in single)), key=lambda e: (e[1:], e)
        )


def _words(report: str) -> list[str]:
    return _SPELLED.sub(lambda match: _SPELLINGS[match[0]], normalise_report(report)).split()


def _phrase(text: str) -> tuple[str, ...]:
    """A class text's words up to what it asks to consider, which is a cause: "st elevation consider acute infarct"."""
    words = [_stem(word) for word in _words(text)]
    return tuple(words[: words.index("consider")] if "consider" in words else words)


def _stem(word: str) -> str:
    """The word without what makes it a plural: complexes, waves, abnormalities."""
    if len(word) > 3 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def _inside(inner: Sequence[int], outer: Sequence[int]) -> bool:
    """Whether a place lies within a longer one."""
    return outer[0] <= inner[0] and inner[1] <= outer[1] and inner[1] - inner[0] < outer[1] - outer[0]
