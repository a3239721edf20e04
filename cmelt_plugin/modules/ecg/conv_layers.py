"""Parsing of configuration strings. They are parsed, never evaluated."""

from __future__ import annotations

import ast
import re

MAX_LENGTH = 1000  # characters
MAX_LAYERS = 64
MAX_NUMBER = 1 << 20
_TERM = re.compile(r"\s*(\[.*?\])\s*(?:\*\s*(\d+))?\s*")


def parse_conv_layers(text: str) -> list[tuple[int, int, int]]:
    """``"[(256, 2, 2)] * 4"`` or ``"[(512, 10, 5)] + [(512, 3, 2)] * 4"`` → list of (channels, kernel, stride).

    Raises:
        ValueError: the text is anything else.
    """
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        raise ValueError(f"conv_feature_layers must be a text of at most {MAX_LENGTH} characters")
    layers: list[tuple[int, int, int]] = []
    for term in text.split("+"):
        match = _TERM.fullmatch(term)
        try:
            block = ast.literal_eval(match.group(1)) if match else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: nested too deep
            block = None
        times = int(match.group(2) or 1) if match else 0
        # Counted before the list is made: a few characters can ask for more layers than fit into memory.
        if block and len(layers) + len(block) * times > MAX_LAYERS:
            raise ValueError(f"conv_feature_layers={text!r}: more than {MAX_LAYERS} layers")
        if not block or times < 1 or not all(_is_layer(layer) for layer in block):
            raise ValueError(f"conv_feature_layers must look like '[(256, 2, 2)] * 4', not {text!r}")
        layers += [tuple(layer) for layer in block] * times
    return layers


def _is_layer(value: object) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 3 and all(type(n) is int and 0 < n <= MAX_NUMBER for n in value)
