"""Tables of texts as Markdown, CSV and LaTeX: the only writer of tables, of results, cards, benchmarks and ablations."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from cmelt_plugin.errors import printable

DASH = "–"
"""A cell without a value."""

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


class TextTable(NamedTuple):
    """A table: its heading, column names and rows."""

    title: str
    head: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        return f"## {self.title}\n\n{markdown(self.head, self.rows)}"

    def csv(self) -> str:
        return comma_separated(self.head, [["" if cell == DASH else cell for cell in row] for row in self.rows])


def percent(value: float | None, digits: int = 2) -> str:
    """0.7616 → "76.16"; a dash for what is not defined."""
    return DASH if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: bool = True) -> str:
    """A pipe table.

    Args:
        head: names of the columns.
        rows: the cells.
        numeric: align all columns but the first right; False: all left.
    """

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(markdown_text, cells)) + " |"

    rule = "|---|" + ("---:|" if numeric else "---|") * (len(head) - 1)
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
