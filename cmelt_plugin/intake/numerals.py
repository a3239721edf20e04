"""Numbers that files write in digits."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def number(text: str, what: str) -> float:
    """A finite number with a decimal point.

    Raises:
        ValueError: ``text`` is none; the message calls it ``what``.
    """
    value = float(text) if len(text) <= 40 and _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{what} is {text[:40]!r}, not a number")
    return value


def numbers(text: str, separator: str) -> np.ndarray:
    """Finite numbers with decimal points between ``separator`` (" " stands for any blanks), float64.

    Raises:
        ValueError: something else stands there.
    """
    text = text.strip().rstrip(separator)
    if not text:
        return np.zeros(0)
    with warnings.catch_warnings():
        # Older numpy only warns of what it could not read, and stops there.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            values = np.fromstring(text, dtype=np.float64, sep=separator)
        except (DeprecationWarning, ValueError):
            raise ValueError("something between the samples is not a number") from None
    if not np.isfinite(values).all():
        raise ValueError("a sample is not a finite number")
    return values
