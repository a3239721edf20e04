"""Configuration strings: the forms that are understood, and that nothing in them is ever run."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.modules.ecg.conv_layers import parse_conv_layers

LAYER = st.tuples(st.integers(1, 1024), st.integers(1, 20), st.integers(1, 10))


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("[(256, 2, 2)] * 4", [(256, 2, 2)] * 4),
        ("[(256,2,2)]*4", [(256, 2, 2)] * 4),
        ("[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)]*2", [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2),
        ("  [ (8, 3, 1), (16, 3, 2), ] * 2 ", [(8, 3, 1), (16, 3, 2)] * 2),
        ("[[8, 3, 1]]", [(8, 3, 1)]),
    ],
)
def test_understood_forms(text: str, layers: list[tuple[int, int, int]]) -> None:
    assert parse_conv_layers(text) == layers


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.lists(LAYER, min_size=1, max_size=3), st.integers(1, 5)), min_size=1, max_size=4))
def test_what_python_would_print_is_read_back(terms) -> None:
    text = " + ".join(f"{block} * {times}" if times > 1 else str(block) for block, times in terms)
    assert parse_conv_layers(text) == [layer for block, times in terms for layer in block * times]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "None",
        "(256, 2, 2)",
        "[256, 2, 2]",
        "[(256, 2)]",
        "[(256, 2, 2, 2)]",
        "[(256, 2, 2)] * x",
        "[(256, 2, 2)] * -1",
        "[(256, 2, 2)] * 2 * 2",
        "4 * [(256, 2, 2)]",
        "[(256, 2, 2)] +",
        "[(256, 2, 2)] [(256, 2, 2)]",
        "[(256, 0, 2)]",
        "[(256, 2, -2)]",
        "[(256, 'a', 2)]",
        "[(256, None, 2)]",
        "[(256, 2, 2)",
        "[(256, 2.7, 2)]",  # would silently become 2
        "[(256, 2, 2)] * 0",  # no layers at all
        "['256']",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"must look like '\[\(256, 2, 2\)\] \* 4'"):
        parse_conv_layers(text)


@pytest.mark.parametrize(
    "code",
    [
        "[(open({path!r}, 'w').write('x'), 2, 2)]",
        "[(__import__('pathlib').Path({path!r}).touch() or 256, 2, 2)]",
        "[(256, 2, 2) for _ in [open({path!r}, 'w')]]",
        "[(256, 2, 2)] * len([open({path!r}, 'w')])",
        "[(256, 2, 2)] + [open({path!r}, 'w')]",
    ],
)
def test_code_is_never_run(code: str, tmp_path: Path) -> None:
    path = tmp_path / "written"
    text = code.format(path=str(path))
    with pytest.raises(ValueError, match="must look like"):
        parse_conv_layers(text)
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "[(512, 2, 2)] * 1000000000",
        "[(512, 2, 2)] * " + "9" * 500,
        "[(512, 2, 2)] * 40 + [(512, 2, 2)] * 40",
        "[(512, 2, 2), " * 60,
        "[" * 900,
        "(" * 10_000_000,
        "[(1000000000000, 2, 2)]",
        None,
        4,
    ],
)
def test_a_few_characters_never_ask_for_more_than_a_model_has(text) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="conv_feature_layers"):
            parse_conv_layers(text)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
