"""The report page: escaped, self-contained, complete."""

import re
from html.parser import HTMLParser

import pytest

from cmelt_plugin.evaluation.report import page
from cmelt_plugin.evaluation.report.page import Merit, Section

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


def everything():
    return [
        page.paragraph(EVIL),
        page.notice(EVIL),
        page.commands([EVIL, "second --line"]),
        page.table([EVIL, "n"], [[EVIL, 1]], numeric=[1]),
        page.merits([Merit(EVIL, 0.5)]),
    ]


def test_all_text_is_escaped():
    html = page.render_page(EVIL, EVIL, [Section(EVIL, everything())])
    reader = read(html)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "".join(reader.text).count(EVIL) == 10


def test_plain_text_is_not_taken_for_markup():
    with pytest.raises(TypeError, match="must come from a function"):
        page.render_page("t", "s", [Section("a", ["<b>raw</b>"])])


def test_the_page_is_self_contained_and_fits_phones():
    html = page.render_page("t", "s", [Section("a", everything())])
    reader = read(html)
    assert not {"link", "script", "img", "iframe"} & {tag for tag, _ in reader.tags}
    assert "url(" not in html and "@import" not in html
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in reader.tags
    assert html.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("value", "bar", "passed"), [(0.9, 0.9, True), (0.8999, 0.9, False), (float("nan"), 0.5, False), (0.1, None, True)]
)
def test_bars(value, bar, passed):
    assert Merit("m", value, bar).passed is passed


@pytest.mark.parametrize(("value", "passed"), [(0.65, True), (0.66, False), (float("nan"), False)])
def test_bars_of_errors_are_upper_bounds(value, passed):
    figure = Merit("error", value, 0.65, is_error=True)
    assert figure.passed is passed
    assert "≤ 0.650" in "".join(read(page.merits([figure])).text)


def test_merits_say_in_words_what_was_missed():
    text = "".join(read(page.merits([Merit("a", 0.95, 0.9, 0.5), Merit("b", 0.7, 0.8), Merit("c", 0.1234)])).text)
    assert re.findall(r"✓ reached|✗ missed", text) == ["✓ reached", "✗ missed"]
    assert "0.123" in text and "–" in text


def test_numeric_columns_are_aligned():
    reader = read(page.table(["name", "count"], [["x", 5]], numeric=[1]))
    cells = [attributes.get("class") for tag, attributes in reader.tags if tag in ("th", "td")]
    assert cells == [None, "number", None, "number"]


def test_long_commands_are_wrapped_as_a_shell_reads_them():
    command = "fairseq-hydra-train --config-dir examples " + " ".join(f"key{i}=value{i}" for i in range(30))
    shown = "".join(read(page.commands([command, "short one"], width=60)).text)
    assert max(map(len, shown.splitlines())) <= 60
    joined = shown.replace(" \\\n    ", " ")
    assert joined.splitlines() == [command, "short one"]


def test_pictures_are_described_for_those_who_cannot_see_them():
    pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")
    from cmelt_plugin.evaluation.plots.style import new_figure

    html = page.picture(new_figure(1, 1), 'a "curve"', "falls <down>", wide=True)
    reader = read(page.side_by_side([html]))
    attributes = [a for _, a in reader.tags if a.get("role") == "img"]
    assert attributes[0]["aria-label"] == 'a "curve"'
    assert "falls <down>" in "".join(reader.text)
    assert ("figure", {"class": "wide"}) in reader.tags
