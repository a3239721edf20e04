"""The statements of a free text: what full stops, semicolons and line breaks divide.

Reports mix languages, are often written in lower case throughout, and are full of abbreviations, so neither capital letters
nor a language's own rules help. In doubt a text is not divided: two statements in one are better than half a statement.
"""

from __future__ import annotations

import re

__all__ = ["split_statements"]

# Words with a full stop after which a statement goes on, in German, English and Swedish reports; "z.b" is also "z. B.".
# Those that as often end a statement are left out on purpose: "etc.", "min.", "o.B.", "age undet.".
_ABBREVIATIONS = """
    allg amplitudenkrit amplitudkrit ant approx ausgepr bl.a bradyk bzw ca cf chron d.h d.v.s dgl dh dr dvs e.g entspr ev evtl
    excl exkl geringgr ggf ggfs hochgr i.d.r i.e i.r i.s.v incl incompl indiff inf inferolat inkl inkompl insbes intraventr jmf
    klin kompl lat li linksant max mgl mind mittelgr mögl moegl mr mrs neg nonspec novod nr ospec p.g.a pat path pathol pga pos
    poss post prob prof pt re regelm rep resp s.u sept sog st.n st.p supraventr susp t.ex tachyk u.a unregelm unspez unvollst
    v.a ventr verd.a verm vermutl vgl viz vorh vs wahrsch wg z.b z.n z.t zt zust.n d m n u z
"""
# Words before a number that is no ordinal: "v1 to 3. t waves", "typ 2. linkstyp".
_BEFORE_CARDINALS = "and bis grad grade lead leads mobitz och oder or till to typ type und"
_ABBREVIATED = "|".join(
    re.escape(word).replace(r"\.", r"\.[ ]?") for word in sorted(_ABBREVIATIONS.split(), key=len, reverse=True)
)
_NO_CARDINAL = "".join(rf"(?<!\b{word}[ ])" for word in _BEFORE_CARDINALS.split())
_LINE = r"(?:\r\n?|[\n\v\f\x1c-\x1e\x85\u2028\u2029])"
_CLOSING = r"[\"')\]”’»]*"

# What divides; the group "inner" is what looks like it but does not.
_MARK = re.compile(
    rf"""
    {_LINE}[^\S\r\n]*{_LINE}\s*                                       # an empty line
    | (?P<inner>
        (?<![\w./]) (?=[^\W\d_]+\.) (?:{_ABBREVIATED}) \.            # ca.  z. B.
        | (?<![\w./]) (?!o\.b\.) (?:[^\W\d_]\.){{2,}}                 # i.v.  k.A.
        | …+ | \.{{3,}}                                               # "sinus rhythm...normal axis": finding and reason
        | (?=\d) (?<![\w.,:/+-]) {_NO_CARDINAL}
          (?:[12]?\d|3[01]) \. (?=\s*\w)                              # 2. AV-Block
        | , [^\S\r\n]* {_LINE}                                        # a line that goes on
        | {_LINE} (?=[^\S\r\n]+\S)                                    # with an indented next line, too
        | (?<!\S) \? (?=\s)                                           # ? old infarct
    )
    | {_LINE} | ;
    | (?<![.!?]) [.!?]+ {_CLOSING} (?=\s|$)
    | (?<=\s) \.+ (?=[^\W\d_])                                        # "2:1 .vorhof"
    | (?<=(?-i:[a-zß-öø-ÿ]{{4}})) \. (?=(?-i:[A-ZÀ-ÖØ-Þ]))            # "rhythm.Normal"
    """,
    re.VERBOSE | re.IGNORECASE,
)


def split_statements(text: str) -> list[str]:
    """Divide a free text into its statements, in order, without surrounding blanks; what holds no letter or digit is left out.

    Full stops, ``!``, ``?``, semicolons and line breaks divide. Decimals, abbreviations, ordinals ("2. AV-Block"), an ellipsis,
    lines that end in a comma and lines that continue in an indented one do not.
    """
    pieces, start = [], 0
    for match in _MARK.finditer(text):
        if match["inner"] is None:
            pieces.append(text[start : match.end()])
            start = match.end()
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces if any(map(str.isalnum, piece))]
