"""Writing files so that a killed run leaves either the old file or the whole new one, and recognising them again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.checksums import check_listed, fingerprint
from cmelt_plugin.errors import DataError
from cmelt_plugin.serialization.atomic_files import atomic_path

__all__ = ["atomic_path", "fingerprint", "read_json", "read_object", "sync_folder", "write_json", "write_texts"]


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files of UTF-8 text, name → content, each whole or not at all; return their paths."""
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in texts]


def read_json(path: str | os.PathLike, checked: bool = True) -> Any:
    """Read a JSON file; ``checked``: compared with its checksum where its folder has a list of them.

    Raises:
        DataError: the file is missing, is not JSON, or has changed since it was written.
    """
    try:
        if checked:
            check_listed(path)
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number of thousands of digits, nested too deep
        raise DataError(f"{path}: not a JSON file ({error}); write it again with the command that made it") from None


def read_object(path: str | os.PathLike, checked: bool = True) -> dict[str, Any]:
    """:func:`read_json` of a file that must hold a JSON object. Raises DataError also where it holds anything else."""
    value = read_json(path, checked)
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}, not an object; write it again with the command that made it")
    return value


def sync_folder(folder: str | os.PathLike) -> None:
    """Let the names in a folder reach the disk; file systems that cannot are trusted."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
