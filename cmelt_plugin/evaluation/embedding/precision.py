"""In which precision evaluation runs the ECG encoder: float32, or bfloat16 where asked (``--bf16``).

What comes out of the encoder, and everything after it, is float32 either way.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from cmelt_plugin.errors import DataError

FLOAT32, BF16 = "float32", "bf16"


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--bf16``."""
    parser.add_argument(
        "--bf16", action="store_true", help="the ECG encoder in bfloat16 autocast; all else, and its outputs, in float32"
    )


def precision_name(bf16: bool) -> str:
    """How settings of results and caches call it."""
    return BF16 if bf16 else FLOAT32


def encoder_precision(device: str | torch.device, bf16: bool) -> Any:
    """The context in which an encoder runs on ``device``: autocast to bfloat16, or none, whatever surrounds it.

    Raises:
        DataError: that device has no bfloat16.
    """
    kind = torch.device(device).type
    try:
        return torch.autocast(kind, torch.bfloat16, enabled=bf16)
    except RuntimeError as error:
        raise DataError(f"--bf16 on --device {device}: {str(error).splitlines()[0]}") from None
