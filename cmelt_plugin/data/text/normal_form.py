"""The normal form of reports, which every text takes before it is tokenised; serving needs no more of their files."""

from __future__ import annotations

import re
import unicodedata

# A mark between two digits belongs to a number ("0.2 mV", "2:1 block", "60-100"); any other separates words.
_PUNCTUATION = re.compile(r"(?<!\d)[^\w\s]|[^\w\s](?!\d)|[^\w\s.,:/+\-]|_")
_SPACE = re.compile(r"\s+")


def normalise_report(text: str) -> str:
    """Lower-case a report, write ``ekg`` as ``ecg``, remove punctuation and squeeze blanks.

    Punctuation becomes a blank, so that "qt-verlängerung" stays two words, except ``. , : / + -`` between two digits.
    Letters and digits of every script stay. Nothing is shortened. Applying it twice changes nothing.

    Source: C-MELT paper, report cleaning (join the columns, lower-case, ekg to ecg, strip, remove punctuation).
    """
    text = unicodedata.normalize("NFC", text).lower()
    text = _SPACE.sub(" ", _PUNCTUATION.sub(" ", text))
    return text.replace("ekg", "ecg").strip()
