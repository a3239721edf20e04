"""One self-contained HTML page from sections: no script, no external resource, readable on a phone and on paper.

Blocks are made by the functions below, which escape all text; :func:`render_page` takes nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from cmelt_plugin.evaluation.plots.style import FONT_STACK, to_svg


class Html(str):
    """Markup whose texts are escaped already."""


class Section(NamedTuple):
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Html]


class Merit(NamedTuple):
    """A figure of merit.

    Attributes:
        name: what was measured.
        value: the figure.
        bar: what it must reach; None: it is only reported.
        chance: what guessing would reach, if that makes sense.
        digits: decimals shown.
        is_error: whether less is better, and the bar the most that passes.
    """

    name: str
    value: float
    bar: float | None = None
    chance: float | None = None
    digits: int = 3
    is_error: bool = False

    @property
    def passed(self) -> bool:
        """Whether the bar is reached; a figure without a bar passes, NaN does not reach any."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.is_error else self.value >= self.bar


def paragraph(text: str) -> Html:
    return Html(f"<p>{escape(text)}</p>")


def notice(text: str) -> Html:
    """A paragraph nobody overlooks."""
    return Html(f'<p class="notice">{escape(text)}</p>')


def commands(lines: Sequence[str], width: int = 96) -> Html:
    """Commands to copy, one block; long ones go on in the next line after a backslash, as a shell has it."""
    wrapped = []
    for line in lines:
        row = ""
        for word in line.split(" "):
            if row.strip() and len(row) + len(word) + 3 > width:
                wrapped.append(f"{row} \\")
                row = f"    {word}"
            else:
                row = f"{row} {word}" if row else word
        wrapped.append(row)
    return Html(f"<pre>{escape(chr(10).join(wrapped))}</pre>")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], numeric: Sequence[int] = ()) -> Html:
    """A table; columns whose index is in ``numeric`` are aligned right."""

    def cells(tag: str, values: Sequence[Any]) -> str:
        return "".join(
            f'<{tag} class="number">{escape(str(value))}</{tag}>'
            if index in numeric
            else f"<{tag}>{escape(str(value))}</{tag}>"
            for index, value in enumerate(values)
        )

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return Html(
        f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def merits(figures: Sequence[Merit]) -> Html:
    """Figures of merit with their bars and whether these are reached."""

    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    rows = []
    for figure in figures:
        verdict = "" if figure.bar is None else ("✓ reached" if figure.passed else "✗ missed")
        style = "" if figure.bar is None else (' class="good"' if figure.passed else ' class="bad"')
        bar = number(figure.bar, figure.digits)
        bar = f"≤ {bar}" if figure.is_error and figure.bar is not None else bar
        values = (number(figure.value, figure.digits), bar, number(figure.chance, figure.digits))
        cells = "".join(f'<td class="number">{value}</td>' for value in values)
        rows.append(f"<tr><td>{escape(figure.name)}</td>{cells}<td{style}>{verdict}</td></tr>")
    head = "<th>figure</th>" + "".join(f'<th class="number">{name}</th>' for name in ("measured", "bar", "chance"))
    body = "\n".join(rows)
    return Html(f'<div class="scroll"><table><thead><tr>{head}<th></th></tr></thead>\n<tbody>\n{body}\n</tbody></table></div>')


def picture(figure: Any, description: str, caption: str = "", wide: bool = False) -> Html:
    """A matplotlib figure.

    Args:
        figure: the figure.
        description: what it shows, for those who cannot see it.
        caption: below it.
        wide: keep it legible on narrow screens by letting the reader scroll sideways.
    """
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    style = ' class="wide"' if wide else ""
    image = f'<div class="scroll" role="img" aria-label="{escape(description)}">{to_svg(figure)}</div>'
    return Html(f"<figure{style}>{image}{below}</figure>")


def side_by_side(blocks: Sequence[Html]) -> Html:
    """Blocks beside each other where the screen is wide enough."""
    return Html(f'<div class="grid">{"".join(blocks)}</div>')


STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1rem; background: #fff; color: #1d1d1f;
  font: 16px/1.5 FONT_STACK; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .6rem; border-top: 1px solid #d9d9de; }
p { max-width: 46rem; margin: .6rem 0; }
.subtitle { color: #55555c; margin-top: 0; }
.notice { background: #fff4d6; border-left: 4px solid #e0a100; padding: .6rem .9rem; }
pre { background: #f5f5f7; border-radius: 6px; padding: .8rem; overflow-x: auto;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
table { border-collapse: collapse; font-size: .93rem; margin: .6rem 0 1.2rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid #e6e6ea; }
th { font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.good { color: #0a6b2d; font-weight: 600; white-space: nowrap; }
.bad { color: #b3261e; font-weight: 600; white-space: nowrap; }
.scroll { overflow-x: auto; }
td:first-child { min-width: 7.5rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem; align-items: start; }
figure { margin: .6rem 0; min-width: 0; }
figure svg { display: block; width: 100%; max-width: 34rem; height: auto; }
figure.wide svg { max-width: none; min-width: 46rem; }
figcaption { color: #55555c; font-size: .9rem; max-width: 46rem; }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
""".replace("FONT_STACK", FONT_STACK)


def render_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page.

    Raises:
        TypeError: a block is plain text, which nobody has escaped.
    """
    parts: list[str] = []
    for section in sections:
        for block in section.blocks:
            if not isinstance(block, Html):
                raise TypeError(f"section {section.title!r}: a block must come from a function of this module")
        parts.append(f"<section>\n<h2>{escape(section.title)}</h2>\n" + "\n".join(section.blocks) + "\n</section>")
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p class="subtitle">{escape(subtitle)}</p>
{body}
</body>
</html>
"""
