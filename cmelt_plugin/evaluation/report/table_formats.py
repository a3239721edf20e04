"""A table of texts as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from cmelt_plugin.errors import printable

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "×": r"$\times$",
}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table; the first column is aligned left, the others right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(markdown_text, cells)) + " |"

    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join([line(head), rule, *map(line, rows)]) + "\n"


def markdown_text(text: str) -> str:
    """A cell of a pipe table: one line, without columns or HTML of its own."""
    return re.sub(r"\||<(?=[A-Za-z/!?])", r"\\\g<0>", printable(str(text)))


def comma_separated(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """CSV after RFC 4180, with Unix line ends."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([list(head), *map(list, rows)])
    return buffer.getvalue()


def latex(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", bold: Sequence[int] = ()) -> str:
    """A ``table`` with booktabs rules; rows whose index is in ``bold`` are set in bold."""

    def line(cells: Sequence[str], strong: bool = False) -> str:
        texts = [latex_text(cell) for cell in cells]
        return " & ".join(rf"\textbf{{{text}}}" if strong and text else text for text in texts) + r" \\"

    body = [line(row, index in bold) for index, row in enumerate(rows)]
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        *([rf"\caption{{{latex_text(caption)}}}"] if caption else []),
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        line(head),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Text with LaTeX's own characters escaped."""
    return "".join(_LATEX.get(character, character) for character in printable(str(text)))
