"""The page: escaped, self-contained, complete."""

import re
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from cmelt_plugin.evaluation.report import blocks as blocks_module
from cmelt_plugin.evaluation.report.blocks import (
    Block,
    Commands,
    Metric,
    Metrics,
    Notice,
    Paragraph,
    Picture,
    Section,
    SideBySide,
    Table,
)
from cmelt_plugin.evaluation.report.page import TEMPLATES, render_page

EVIL = '<script>alert("x")</script> & more'
VOID = {"meta", "br", "path", "use", "rect"}


class Reader(HTMLParser):
    """Collects tags and text, and checks that every tag is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def shown(block):
    return read(render_page("t", "s", [Section("a", [block])]))


def everything():
    return [
        Paragraph(EVIL),
        Notice(EVIL),
        Commands([EVIL, "second --line"]),
        Table([EVIL, "n"], [[EVIL, 1]], numeric=[1]),
        Metrics([Metric(EVIL, 0.5)]),
    ]


def test_all_text_is_escaped():
    reader = read(render_page(EVIL, EVIL, [Section(EVIL, [*everything(), SideBySide(everything())])]))
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "".join(reader.text).count(EVIL) == 16


def test_plain_text_is_not_taken_for_markup():
    with pytest.raises(TypeError, match="not a block"):
        render_page("t", "s", [Section("a", ["<b>raw</b>"])])


def test_the_page_is_self_contained_and_fits_phones():
    html = render_page("t", "s", [Section("a", everything())])
    reader = read(html)
    assert not {"link", "script", "img", "iframe"} & {tag for tag, _ in reader.tags}
    assert "url(" not in html and "@import" not in html
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in reader.tags
    assert html.startswith("<!doctype html>")


def test_every_block_has_a_template_and_every_template_a_block():
    blocks = {block.template for block in vars(blocks_module).values() if isinstance(block, type) and Block in block.__bases__}
    assert blocks == {f"blocks/{path.name}" for path in (TEMPLATES / "blocks").iterdir()}


def test_a_template_that_names_what_is_not_there_fails():
    class Silent(Block):
        template = "blocks/paragraph.html"

    with pytest.raises(UndefinedError, match="text"):
        shown(Silent())


@pytest.mark.parametrize(
    ("value", "bar", "passed"), [(0.9, 0.9, True), (0.8999, 0.9, False), (float("nan"), 0.5, False), (0.1, None, True)]
)
def test_bars(value, bar, passed):
    assert Metric("m", value, bar).passed is passed


@pytest.mark.parametrize(("value", "passed"), [(0.65, True), (0.66, False), (float("nan"), False)])
def test_bars_of_errors_are_upper_bounds(value, passed):
    metric = Metric("error", value, 0.65, is_error=True)
    assert metric.passed is passed
    assert "≤ 0.650" in "".join(shown(Metrics([metric])).text)


def test_metrics_say_in_words_what_was_missed():
    text = "".join(shown(Metrics([Metric("a", 0.95, 0.9, 0.5), Metric("b", 0.7, 0.8), Metric("c", 0.1234)])).text)
    assert re.findall(r"✓ reached|✗ missed", text) == ["✓ reached", "✗ missed"]
    assert "0.123" in text and "–" in text


def test_numeric_columns_are_aligned():
    reader = shown(Table(["name", "count"], [["x", 5]], numeric=[1]))
    cells = [attributes.get("class") for tag, attributes in reader.tags if tag in ("th", "td")]
    assert cells == [None, "number", None, "number"]


def test_long_commands_are_wrapped_as_a_shell_reads_them():
    command = "fairseq-hydra-train --config-dir examples " + " ".join(f"key{i}=value{i}" for i in range(30))
    html = render_page("t", "s", [Section("a", [Commands([command, "short one"], width=60)])])
    text = re.search("<pre>(.*?)</pre>", html, re.DOTALL)[1]
    assert max(map(len, text.splitlines())) <= 60
    joined = text.replace(" \\\n    ", " ")
    assert joined.splitlines() == [command, "short one"]


def test_pictures_are_described_for_those_who_cannot_see_them():
    pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")
    from cmelt_plugin.evaluation.plots.style import new_figure

    figure = new_figure(1, 1)
    figure.text(0.1, 0.5, EVIL)
    reader = shown(SideBySide([Picture(figure, 'a "curve"', "falls <down>", wide=True)]))
    attributes = [a for _, a in reader.tags if a.get("role") == "img"]
    assert attributes[0]["aria-label"] == 'a "curve"'
    text = "".join(reader.text)
    assert "falls <down>" in text and EVIL in text
    assert ("figure", {"class": "wide"}) in reader.tags
    assert "script" not in {tag for tag, _ in reader.tags}
