"""Putting a finished packing in the place of what a manifest directory held.

Everything is made in the folder ``.packing`` of the directory, so until the swap an older content stays complete and in
use. The swap follows a journal, ``.packing/swap.json``: whoever finds one carries it out to its end.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, MANIFEST_FILE, SWAP_FILE, WORK_FOLDER, Entry, read_checksums
from cmelt_plugin.data.directory.own_files import LABELS_FILE, PROMPTS_FILE, STORE_FILE, is_derived, is_part, own_files
from cmelt_plugin.data.directory.replacing import entry_of, write_checksums
from cmelt_plugin.data.files import read_object, sync_folder, write_json
from cmelt_plugin.errors import DataError
from preprocess.packing.blocks import PLAN_FILE

_OF_WORK = re.compile(r"records-\d+\.(npy|json)")
_LAST = (CHECKSUMS_FILE, MANIFEST_FILE)  # the directory counts as finished when it has the last of them


def is_of_work(name: str) -> bool:
    """Whether a packing writes files of this name to its work folder."""
    return name in (PLAN_FILE, SWAP_FILE) or bool(_OF_WORK.fullmatch(name)) or is_part(name)


def products(work: Path) -> list[str]:
    """Names of the files in a work folder that are for the directory, its shards left out."""
    return sorted(
        path.name
        for path in work.iterdir()
        if path.is_file() and path.name not in (PLAN_FILE, SWAP_FILE) and not _OF_WORK.fullmatch(path.name)
    )


def remove_products(work: Path) -> None:
    """Delete what an earlier try of the last step left; plan, shards and results stay."""
    for name in products(work):
        (work / name).unlink()


def swap_in(dest: Path) -> None:
    """List, move and clean up: the files of the work folder become the directory.

    Token ids, negatives and class texts of an older content stay: they know by fingerprint whether they still fit.

    Raises:
        DataError: somebody else's file has come to stand where one of these belongs.
    """
    work = dest / WORK_FOLDER
    shards = {}
    if (work / STORE_FILE).is_file():
        for shard in read_object(work / STORE_FILE)["shards"]:
            shards[shard["file"]] = Entry((work / shard["file"]).stat().st_size, shard["sha256"])
    new = [name for name in products(work) if name not in _LAST]
    own = own_files(dest)
    foreign = sorted(name for name in {*new, *shards, *_LAST} - own if os.path.lexists(dest / name))
    if foreign:
        raise DataError(f"{dest}: {', '.join(foreign[:10])} came here during the run; move it away and run the command again")
    derived = {name for name in own if is_derived(name)} - {*new}
    if LABELS_FILE in new:
        derived.discard(PROMPTS_FILE)  # texts of other classes
    entries = {**shards, **{name: entry_of(work / name) for name in (*new, MANIFEST_FILE)}}
    try:
        before = read_checksums(dest) or {}
    except DataError:
        before = {}
    entries.update((name, before[name]) for name in derived if name in before)
    write_checksums(work, entries)
    old = sorted(own - derived - {MANIFEST_FILE})
    write_json(work / SWAP_FILE, {"delete": [MANIFEST_FILE, *old], "move": [*sorted(shards), *new, *_LAST]})
    sync_folder(work)
    finish_swap(dest)


def finish_swap(dest: Path) -> bool:
    """Carry out the journal of a swap, from wherever it was stopped; False where there is none.

    Raises:
        DataError: the journal is damaged.
    """
    work = dest / WORK_FOLDER
    if not (work / SWAP_FILE).is_file():
        return False
    journal = read_object(work / SWAP_FILE)
    delete: Any = journal.get("delete")
    move: Any = journal.get("move")
    for names in (delete, move):
        if not isinstance(names, list) or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise DataError(f"{work / SWAP_FILE}: damaged; move the finished files of {work} to {dest} by hand")
    if (work / MANIFEST_FILE).is_file():  # else the last file has its place, and only the clean-up is left
        for name in delete:
            # A file that was moved already has the name of an older one.
            if name not in move or (work / name).is_file():
                (dest / name).unlink(missing_ok=True)
        sync_folder(dest)
        for name in move:
            if name == MANIFEST_FILE:
                sync_folder(dest)  # all others are in place before it
            if (work / name).is_file():
                os.replace(work / name, dest / name)
        sync_folder(dest)
    remove_work(work)
    return True


def remove_work(work: Path) -> None:
    """Delete a work folder, its journal last: as long as that is there, whoever comes finishes this."""
    if not work.is_dir():
        return
    for path in sorted(work.iterdir()):
        if path.name != SWAP_FILE:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(work)
