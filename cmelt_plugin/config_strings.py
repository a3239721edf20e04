"""Parsing of configuration strings. They are parsed, never evaluated."""

from __future__ import annotations

import ast
import re

_TERM = re.compile(r"\s*(\[.*?\])\s*(?:\*\s*(\d+))?\s*")


def parse_conv_layers(text: str) -> list[tuple[int, int, int]]:
    """``"[(256, 2, 2)] * 4"`` or ``"[(512, 10, 5)] + [(512, 3, 2)] * 4"`` → list of (channels, kernel, stride).

    Raises:
        ValueError: the text is anything else.
    """
    layers: list[tuple[int, int, int]] = []
    for term in text.split("+"):
        match = _TERM.fullmatch(term)
        try:
            values = ast.literal_eval(match.group(1)) if match else None
            block = [tuple(int(number) for number in layer) for layer in values]  # type: ignore[union-attr]
        except (ValueError, SyntaxError, TypeError):
            block = []
        if not block or any(len(layer) != 3 or min(layer) < 1 for layer in block):
            raise ValueError(f"conv_feature_layers must look like '[(256, 2, 2)] * 4', not {text!r}")
        layers += block * int(match.group(2) or 1)  # type: ignore[union-attr,arg-type]
    return layers
