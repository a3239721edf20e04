"""Reading and writing ``.safetensors`` files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from cmelt_plugin.errors import DataError
from cmelt_plugin.serialization.atomic_files import atomic_path


def read_safetensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Raises:
        DataError: no such file, or not one of safetensors.
    """
    from safetensors.torch import load_file

    with _translated(path):
        return load_file(path)


def tensor_names(path: str | os.PathLike) -> list[str]:
    """Names of the tensors of a file, none of which is read.

    Raises:
        DataError: no such file, or not one of safetensors.
    """
    from safetensors import safe_open

    with _translated(path), safe_open(path, framework="pt") as handle:
        return list(handle.keys())


def write_safetensors(path: str | os.PathLike, tensors: dict[str, Tensor]) -> None:
    """Write tensors, atomically."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        mode = temporary.stat().st_mode
        # Hugging Face's loaders ask for this entry.
        save_file(tensors, temporary, metadata={"format": "pt"})
        # Newer versions put a file of their own in its place, which none but its owner may read.
        temporary.chmod(mode)


@contextmanager
def _translated(path: str | os.PathLike) -> Iterator[None]:
    """Errors of reading as DataError."""
    from safetensors import SafetensorError

    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable safetensors file ({error}); copy it again") from None
