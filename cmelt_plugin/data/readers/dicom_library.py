"""pydicom, imported late: not everyone has it, and Python 3.9 has only a version that is too old."""

from __future__ import annotations

import importlib
from typing import Any

from cmelt_plugin.errors import DataError


def import_pydicom() -> Any:
    """pydicom 3 or later.

    Raises:
        DataError: it is not installed, or too old.
    """
    try:
        pydicom: Any = importlib.import_module("pydicom")
        importlib.import_module("pydicom.pixels")
    except ImportError:
        raise DataError("DICOM files need pydicom 3 (Python 3.10 or later): pip install 'pydicom>=3'") from None
    return pydicom
