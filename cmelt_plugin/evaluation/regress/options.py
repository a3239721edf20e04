"""Options of the commands that estimate a value by texts that name values."""

from __future__ import annotations

import argparse
from pathlib import Path

from cmelt_plugin import option_types

MEASUREMENT = "lvef"
SAMPLES = 100


def add_value_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--teacher`` or ``--value-texts``, ``--measurement`` and ``--samples``."""
    texts = parser.add_mutually_exclusive_group()
    texts.add_argument("--teacher", type=Path, metavar="DIR", help="teacher sidecar whose texts name values (prompts.npz)")
    texts.add_argument("--value-texts", metavar="lvef|FILE", help="texts that name values, for the model's own text encoder")
    parser.add_argument("--measurement", default=MEASUREMENT, help=f"group of the teacher's texts ({MEASUREMENT})")
    parser.add_argument(
        "--samples", type=option_types.natural, default=SAMPLES, metavar="N", help=f"of each Gaussian; 0: none ({SAMPLES})"
    )
