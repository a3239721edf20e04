"""Which findings a report denies: words that negate what follows or precedes them, and how far they reach.

A negation reaches the next finding and those that "or" or "and" join to it, not past the end of the clause. Reports are
normalised: full stops and commas are gone, and the words alone must say where a clause ends. In doubt a finding is present.

After NegEx (Chapman et al., J Biomed Inform 2001), which bounds a negation's reach by words, too. The words are those of
English, German and Swedish ECG reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["denied"]

_BEFORE = """
    no | not | without | absence of | no evidence of | no evidence for | no sign of | negative for | free of | neither | nor
    inconsistent with | not consistent with | not compatible with | not suggestive of
    kein | keine | keinen | keinem | keiner | keines | keinerlei | ohne | nicht | weder | kein hinweis auf | keine hinweise auf
    ingen | inga | inget | ej | utan | inte | inga tecken till | inga hållpunkter för
"""
_AFTER = """
    ruled out | excluded | absent | unlikely | resolved | not seen | not present | not evident | not found | no longer present
    no longer seen | no longer evident | no longer
    ausgeschlossen | nicht nachweisbar | nicht vorhanden | nicht erkennbar | nicht zu sehen | nicht mehr | unwahrscheinlich
    ej påvisad | utesluten | uteslutet
"""
# They look like negations and deny no finding.
_NEITHER = """
    not only | no further | no previous tracing | no previous ecg | no prior tracing | no prior ecg | no old tracing
    no comparison | no change | no significant change | no interval change | not significantly changed | not changed
    without change | without significant change | not diagnostic
    nicht nur | keine änderung | ohne änderung | nicht verändert
"""
# A negation before these says that something may be there.
_DOUBT = """
    ruled out | rule out | exclude | excluded
    ausgeschlossen | auszuschließen | auszuschliessen | ausschließbar | uteslutas
"""
_NEGATED_DOUBT = ("not", "cannot", "nicht", "ej", "inte")
_ALTERNATIVE = frozenset("or nor oder noch eller".split())
_JOINING = _ALTERNATIVE | frozenset("and und och samt sowie".split())
_ENDING = frozenset(
    """
    but however although though except yet nevertheless because with consider suggest suggests possible possibly probable
    probably likely aber jedoch sondern mit bei wahrscheinlich möglich men med trolig möjlig
    """.split()
)
# What a negation may deny although no class stands for it.
_OTHER_FINDINGS = frozenset(
    """
    change changes abnormality abnormalities pathology pathologiskt patologiskt elevation depression inversion analysis tracing
    comparison veränderung veränderungen förändring förändringar
    """.split()
)
# What says where a finding is, before it or after it.
_PLACES = frozenset(
    """
    in of at the to lead leads wall anterior inferior lateral septal posterior anteroseptal anterolateral inferolateral
    precordial limb extremity i ii iii avr avl avf v1 v2 v3 v4 v5 v6 ableitung ableitungen avledning avledningar
    """.split()
)
# What may stand between a finding and a negation after it, beside its place.
_BETWEEN = frozenset(
    "is are was were be been has have now clearly definitely ist sind war wurde wird sicher är var säkert".split()
)
REACH = 3  # other words between a negation and the finding it denies
REACH_OF_DOUBT = 3  # words between "cannot" and "excluded"


class _Trigger(NamedTuple):
    start: int
    stop: int
    kind: str  # before, after, neither


def _phrases(text: str) -> list[tuple[str, ...]]:
    return [tuple(phrase.split()) for line in text.strip().splitlines() for phrase in line.split("|")]


_TRIGGERS = sorted(
    [
        *((phrase, "before") for phrase in _phrases(_BEFORE)),
        *((phrase, "after") for phrase in _phrases(_AFTER)),
        *((phrase, "neither") for phrase in _phrases(_NEITHER)),
    ],
    key=lambda entry: -len(entry[0]),
)
_DOUBTS = _phrases(_DOUBT)


def denied(words: Sequence[str], findings: Sequence[tuple[int, int]]) -> list[bool]:
    """Which findings of a text are denied.

    Args:
        words: of a text as :func:`~cmelt_plugin.data.text.reports.normalise_report` leaves it.
        findings: first word and end of each finding, ordered by first word, none inside another; a negation among its words is
            its own and denies nothing.

    Returns:
        One flag for each finding.
    """
    owner = {word: number for number, (start, stop) in enumerate(findings) for word in range(start, stop)}
    result = [False] * len(findings)
    for trigger in _triggers(words, owner):
        reached = _forwards if trigger.kind == "before" else _backwards
        for number in reached(words, findings, owner, trigger):
            result[number] = True
    return result


def _triggers(words: Sequence[str], owner: dict[int, int]) -> Iterator[_Trigger]:
    """Negations outside of findings, from left to right."""
    place = 0
    while place < len(words):
        stop = _end_of_doubt(words, place)
        if stop is None:
            phrase, kind = next((entry for entry in _TRIGGERS if _stands(entry[0], words, place)), ((), ""))
            stop = place + len(phrase)
            if phrase and kind != "neither" and not any(word in owner for word in range(place, stop)):
                yield _Trigger(place, stop, kind)
        place = max(stop, place + 1)


def _end_of_doubt(words: Sequence[str], place: int) -> int | None:
    """Where "cannot be ruled out" and its like end, if one begins here."""
    if words[place] not in _NEGATED_DOUBT:
        return None
    for start in range(place + 1, min(place + 2 + REACH_OF_DOUBT, len(words))):
        for phrase in _DOUBTS:
            if _stands(phrase, words, start):
                return start + len(phrase)
    return None


def _forwards(
    words: Sequence[str], findings: Sequence[tuple[int, int]], owner: dict[int, int], trigger: _Trigger
) -> Iterator[int]:
    """Findings that a negation before them reaches, by number."""
    place, gap = trigger.stop, 0
    while place < len(words) and gap <= REACH:
        if place in owner:
            yield owner[place]
            place = findings[owner[place]][1]
        elif words[place] in _OTHER_FINDINGS:
            place += 1
        elif words[place] in _ENDING:
            return
        else:
            gap += words[place] not in _PLACES
            place += 1
            continue
        while place < len(words) and place not in owner and words[place] in _PLACES:
            place += 1
        if _is_in_list(words, findings, owner, place):
            continue
        if place == len(words) or words[place] not in _JOINING:
            return
        place, gap = place + 1, 0


def _is_in_list(words: Sequence[str], findings: Sequence[tuple[int, int]], owner: dict[int, int], place: int) -> bool:
    """Whether a finding stands here, and after it others up to an "or": "no a, b or c" without its comma."""
    first = place
    while place in owner:
        place = findings[owner[place]][1]
    return first < place < len(words) and words[place] in _ALTERNATIVE


def _backwards(
    words: Sequence[str], findings: Sequence[tuple[int, int]], owner: dict[int, int], trigger: _Trigger
) -> Iterator[int]:
    """Findings that a negation after them reaches, by number."""
    place = trigger.start - 1
    while place >= 0:
        if place in owner:
            yield owner[place]
            place = findings[owner[place]][0] - 1
            if place < 0 or place in owner or words[place] not in _JOINING:
                return
        elif words[place] not in _BETWEEN and words[place] not in _PLACES:
            return
        place -= 1


def _stands(phrase: Sequence[str], words: Sequence[str], place: int) -> bool:
    return tuple(words[place : place + len(phrase)]) == phrase
