"""Texts that name values of a measurement, from which a number is read: the JSON files beside this module, or a user's.

A file is ``{"unit": "%", "first": 0, "last": 100, "step": 1, "texts": ["ejection fraction {value} percent", …]}``; every
text is filled in with every value.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from cmelt_plugin.data.files import read_object
from cmelt_plugin.errors import DataError

FOLDER = Path(__file__).resolve().parent
MEASUREMENTS = ("lvef",)
PLACE = "{value}"
MOST = 10_000  # texts


class ValueTexts(NamedTuple):
    """C texts of a measurement.

    Attributes:
        name: of the measurement.
        unit: of its values.
        texts: the C texts.
        values: C numbers, what each says.
    """

    name: str
    unit: str
    texts: list[str]
    values: list[float]


def load_value_texts(measurement_or_path: str | os.PathLike) -> ValueTexts:
    """Texts of one of :data:`MEASUREMENTS`, or of a JSON file.

    Raises:
        DataError: neither a measurement nor a file, or a malformed file.
    """
    name = os.fspath(measurement_or_path)
    path = FOLDER / f"{name}.json" if name in MEASUREMENTS else Path(name)
    if not path.is_file():
        raise DataError(f"{name}: neither a JSON file nor a measurement with texts; known are {', '.join(MEASUREMENTS)}")
    fields = read_object(path)
    templates = fields.get("texts")
    if (
        not isinstance(templates, list)
        or not templates
        or not all(isinstance(text, str) and PLACE in text for text in templates)
    ):
        raise DataError(f'{path}: "texts" must be a list of texts that all hold {PLACE}')
    first, last, step = (_number(fields, key, path) for key in ("first", "last", "step"))
    if not step > 0 or last < first or (last - first) / step * len(templates) > MOST:
        raise DataError(f"{path}: from first to last in steps must be at least one value and, by {len(templates)} texts, "
                        f"at most {MOST:,}")  # fmt: skip
    values = [first + step * place for place in range(math.floor((last - first) / step + 1e-9) + 1)]
    texts = [str(template).replace(PLACE, f"{value:g}") for template in templates for value in values]
    return ValueTexts(path.stem, str(fields.get("unit", "")), texts, values * len(templates))


def _number(fields: dict[str, Any], key: str, path: Path) -> float:
    value = fields.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise DataError(f'{path}: "{key}" must be a number')
    return float(value)
