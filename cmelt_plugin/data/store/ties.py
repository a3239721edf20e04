"""Whether the store that a manifest points to is still the very one it was made over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, MANIFEST_FILE, fingerprint
from cmelt_plugin.data.directory.own_files import STORE_FILE
from cmelt_plugin.data.files import read_object
from cmelt_plugin.errors import DataError

REUSED_NOTE = "recordings: those of another manifest directory (--store)"


def check_store_tie(directory: Path, store_root: Path) -> bool:
    """Compare ``store.json`` with what ``manifest.json`` noted of it; False where it noted nothing that can be compared.

    ``store.json`` holds the digest of every shard. Directories made before it was noted know the ``manifest.json`` of the
    store they were made over instead.

    Raises:
        DataError: the recordings were packed again since, so that rows may belong to other records; or ``manifest.json`` is
            damaged, or promises checksums that are not there.
    """
    path = directory / MANIFEST_FILE
    if not path.is_file():
        return False
    manifest = read_object(path)
    if manifest.get("checksums") == CHECKSUMS_FILE and not (directory / CHECKSUMS_FILE).is_file():
        raise DataError(
            f"{directory / CHECKSUMS_FILE}: missing; copy it, too, or list the files as they are, unchecked, with "
            f"`python -m cmelt_plugin.verify {directory} --accept '*'`"
        )
    prints, arguments = manifest.get("fingerprints"), manifest.get("arguments")
    noted = prints.get(STORE_FILE) if isinstance(prints, dict) else None
    other = store_root / STORE_FILE
    if noted is None and isinstance(arguments, dict) and arguments.get("store") and not _reused_twice(manifest):
        noted, other = arguments["store"], store_root / MANIFEST_FILE
    if noted is None:
        return False
    if not other.is_file() or fingerprint(other) != noted:
        command = str(manifest.get("command") or "the command that made it").split("\n")[0]
        raise DataError(
            f"{directory}: made over recordings of {_shown(store_root)} that were packed again since, so its rows may be those "
            f"of other records; make it again: python {command} … --store {_shown(store_root)} --dest {directory} --overwrite"
        )
    return True


def _reused_twice(manifest: dict[str, Any]) -> bool:
    """Whether --store was a directory whose recordings lie in a third one, whose ``manifest.json`` was not noted."""
    recordings = manifest.get("recordings")
    notes = recordings.get("notes") if isinstance(recordings, dict) else None
    return isinstance(notes, list) and REUSED_NOTE in notes


def _shown(path: Path) -> str:
    return os.path.normpath(path)
