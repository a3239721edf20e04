"""What a page is made of: sections of blocks, which are plain data. How a block looks is its template's matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from cmelt_plugin.evaluation.plots.style import to_svg


class Block:
    """A part of a section.

    Attributes:
        template: its file in ``templates/``, which sees it as ``block``.
    """

    template: ClassVar[str]


class Section(NamedTuple):
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Paragraph(Block):
    template: ClassVar[str] = "blocks/paragraph.html"
    text: str


@dataclass(frozen=True)
class Notice(Block):
    """A paragraph nobody overlooks."""

    template: ClassVar[str] = "blocks/notice.html"
    text: str


@dataclass(frozen=True)
class Commands(Block):
    """Commands to copy; one longer than ``width`` goes on in the next line after a backslash, as a shell has it."""

    template: ClassVar[str] = "blocks/commands.html"
    lines: Sequence[str]
    width: int = 96

    @property
    def wrapped(self) -> list[str]:
        rows = []
        for line in self.lines:
            row = ""
            for word in line.split(" "):
                if row.strip() and len(row) + len(word) + 3 > self.width:
                    rows.append(f"{row} \\")
                    row = f"    {word}"
                else:
                    row = f"{row} {word}" if row else word
            rows.append(row)
        return rows


@dataclass(frozen=True)
class Table(Block):
    """A table of texts and numbers; columns whose index is in ``numeric`` are aligned right."""

    template: ClassVar[str] = "blocks/table.html"
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numeric: Sequence[int] = ()


@dataclass(frozen=True)
class Metric:
    """A number that was measured.

    Attributes:
        name: what was measured.
        value: the number.
        bar: what it must reach; None: nothing is asked of it.
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
        """Whether the bar is reached; a metric without a bar passes, NaN does not reach any."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.is_error else self.value >= self.bar

    def written(self, number: float | None) -> str:
        """A number with this metric's decimals."""
        return "–" if number is None else f"{number:.{self.digits}f}"


@dataclass(frozen=True)
class Metrics(Block):
    """Metrics with their bars and whether these are reached."""

    template: ClassVar[str] = "blocks/metrics.html"
    metrics: Sequence[Metric]


@dataclass(frozen=True)
class Picture(Block):
    """A matplotlib figure.

    Attributes:
        figure: the figure.
        description: what it shows, for those who cannot see it.
        caption: below it.
        wide: keep it legible on narrow screens by letting the reader scroll sideways.
    """

    template: ClassVar[str] = "blocks/picture.html"
    figure: Any
    description: str
    caption: str = ""
    wide: bool = False

    @property
    def svg(self) -> str:
        """The figure as markup: matplotlib has escaped the texts in it."""
        return to_svg(self.figure)


@dataclass(frozen=True)
class SideBySide(Block):
    """Blocks beside each other where the screen is wide enough."""

    template: ClassVar[str] = "blocks/side_by_side.html"
    blocks: Sequence[Block]
