"""Which WFDB records are meant by what a user types."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from cmelt_plugin.data.wfdb_record import record_stem
from cmelt_plugin.errors import DataError


def find_records(names: Iterable[str]) -> list[str]:
    """Paths of records without suffix, in the order given, each once.

    Args:
        names: paths of records (with or without ``.hea``), patterns (``data/*.hea``, ``data/**/*.hea``), folders (searched
            for headers, with their folders) or ``@FILE``, a text file with one path a line, relative to that file.

    Raises:
        DataError: a pattern, folder or list without a record. A single record need not exist: reading it says so.
    """
    found: dict[str, None] = {}
    for name in names:
        if name.startswith("@"):
            paths: Sequence[str] = _listed(Path(name[1:]))
        elif Path(name).is_dir():
            paths = sorted(str(path) for path in Path(name).rglob("*.hea"))
        elif glob.has_magic(name) and not Path(f"{record_stem(name)}.hea").is_file():
            matches = sorted(glob.glob(name, recursive=True))
            # A pattern for all files of a folder means its records.
            paths = [path for path in matches if Path(f"{record_stem(path)}.hea").is_file()]
        else:
            paths = [name]
        if not paths:
            raise DataError(f"{name}: no WFDB record there (a record has a header, NAME.hea)")
        found.update(dict.fromkeys(record_stem(path) for path in paths))
    return list(found)


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file; it must hold the path of one record a line") from None
    return [str(path.parent / line.strip()) for line in lines if line.strip() and not line.startswith("#")]
