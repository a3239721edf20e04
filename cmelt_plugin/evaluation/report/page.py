"""One self-contained HTML page from sections: no script, no external resource, readable on a phone and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cmelt_plugin.evaluation.plots.style import FONT_STACK
from cmelt_plugin.evaluation.report.blocks import Block, Section

TEMPLATES = Path(__file__).with_name("templates")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Templates that escape every text and refuse every name they are not given."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["font_stack"] = FONT_STACK
    return environment


def render_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page.

    Raises:
        TypeError: something in a section is not a block.
    """
    for section in sections:
        if not all(isinstance(block, Block) for block in section.blocks):
            raise TypeError(f"section {section.title!r}: holds something that is not a block")
    return _environment().get_template("page.html").render(title=title, subtitle=subtitle, sections=sections)
