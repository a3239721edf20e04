"""The copy of class texts in a manifest directory, ``prompts.json``, and which kind of text it holds.

The kind stands in ``labels.json`` under ``prompts``, with the fingerprint of the copy it is said of: a file that was edited
since, or written before kinds were recorded, is of unknown kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.own_files import LABELS_FILE, PROMPTS_FILE
from cmelt_plugin.data.files import fingerprint, read_object, write_json

ENTRY = "prompts"
UNKNOWN = "unknown"


def write_copy(directory: Path, texts: dict[str, list[str]], kind: str | None) -> dict[str, Any]:
    """Write ``prompts.json``; the entry for ``labels.json`` is returned.

    Args:
        directory: manifest directory.
        texts: class → texts.
        kind: of the texts, e.g. ``description`` or ``own``; None or :data:`UNKNOWN`: nothing is recorded.
    """
    write_json(directory / PROMPTS_FILE, texts)
    return {} if kind in (None, UNKNOWN) else {ENTRY: {"kind": kind, "fingerprint": fingerprint(directory / PROMPTS_FILE)}}


def copied_kind(directory: Path) -> str:
    """The kind of the texts in a directory's ``prompts.json``; :data:`UNKNOWN` where nobody recorded it.

    Raises:
        DataError: ``labels.json`` or ``prompts.json`` is unreadable.
    """
    labels = directory / LABELS_FILE
    entry = read_object(labels).get(ENTRY) if labels.is_file() else None
    if not isinstance(entry, dict) or entry.get("fingerprint") != fingerprint(directory / PROMPTS_FILE):
        return UNKNOWN
    return str(entry.get("kind") or UNKNOWN)
