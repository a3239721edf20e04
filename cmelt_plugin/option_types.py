"""Command lines: the parser of a command, and types for numbers: argparse refuses others in one line and names the option."""

from __future__ import annotations

import argparse
import math

LARGEST = 2**31 - 1  # what every library behind the commands takes for a size or a seed


def command_parser(module: str, description: str | None, epilog: str) -> argparse.ArgumentParser:
    """The parser of ``python -m module``, whose help shows both texts line by line as they stand in its file."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def natural(text: str) -> int:
    """A whole number from 0: how many, where none is possible."""
    return _whole(text, 0)


def count(text: str) -> int:
    """A whole number from 1: a size, or how many."""
    return _whole(text, 1)


def seed(text: str) -> int:
    """A whole number from 0 that begins a sequence of random numbers."""
    return _whole(text, 0)


def share(text: str) -> float:
    """A number above 0 and up to 1: which part of a whole."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{_short(text)}: must be above 0 and at most 1")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{_short(text)}: must be above 0")
    return value


def non_negative_number(text: str) -> float:
    """A finite number from 0."""
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{_short(text)}: must not be negative")
    return value


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{_short(text)}: no whole number") from None
    if not least <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{_short(text)}: must be at least {least} and at most {LARGEST:,}")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{_short(text)}: no number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{_short(text)}: must be finite")
    return value


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:40]}...")
