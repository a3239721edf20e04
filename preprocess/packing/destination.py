"""The folder a packing command writes to: what may be replaced there, and what must not be touched."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.checksums import MANIFEST_FILE, WORK_FOLDER
from cmelt_plugin.data.directory.own_files import file_names, is_part, own_files, target_of_temporary
from cmelt_plugin.data.files import read_object, write_json
from cmelt_plugin.errors import DataError
from preprocess.packing.blocks import PLAN_FILE
from preprocess.packing.swap import finish_swap, is_of_work, remove_work

OVERWRITE = "overwrite"  # key of the plan in the work folder: the run was to replace a finished directory
SHOWN = 10


def refuse_overlap(args: argparse.Namespace) -> None:
    """Refuse a --dest that is within --root, or in which --root or a file that is to be read lies. Links are followed.

    Raises:
        DataError: two of the command's paths overlap.
    """
    dest = args.dest.resolve()
    for name, value in sorted(vars(args).items()):
        if not isinstance(value, Path) or name in ("dest", "store"):
            continue
        option, path = "--" + name.replace("_", "-"), value.resolve()
        if path == dest:
            raise DataError(f"--dest {args.dest}: is {option} itself; choose a folder of its own")
        if dest in path.parents:
            raise DataError(f"--dest {args.dest}: {option} {value} lies in it; choose a folder of its own")
        if name == "root" and path in dest.parents:
            raise DataError(f"--dest {args.dest}: lies in --root {value}; choose a folder outside the data set")


def claim(dest: Path, plan: dict[str, Any], overwrite: bool) -> bool:
    """Make ``dest`` ready for this plan; True when it is finished already. What is finished there stays until the swap.

    Raises:
        DataError: ``dest`` holds files of others, or was made or begun with another plan.
    """
    work = dest / WORK_FOLDER
    _check_work(work)
    swapped = finish_swap(dest)
    if (dest / MANIFEST_FILE).is_file() and (swapped or not overwrite):
        earlier = read_object(dest / MANIFEST_FILE).get("arguments")
        changed = _changed(plan, earlier if isinstance(earlier, dict) else {})
        if not changed:
            _remove_leftovers(dest)
            if _is_begun(work) and _begun_plan(work).get(OVERWRITE):
                print(f"{dest}: a run with --overwrite was stopped here; give it again to go on with it", file=sys.stderr)
            else:
                remove_work(work)
            return True
        if not overwrite:
            _refuse(dest, changed)
    if _is_begun(work):
        earlier = _begun_plan(work)
        replaces = bool(earlier.pop(OVERWRITE, False))
        changed = _changed(plan, earlier)
        if changed and not overwrite:
            _refuse(dest, changed)
        if not changed and (replaces or not overwrite):
            _adopt_shards(dest)
            _check_foreign(dest, overwrite)
            _remove_leftovers(dest)
            print(f"{dest}: going on where an earlier run stopped (to begin anew, delete {work})", file=sys.stderr)
            return False
    _check_foreign(dest, overwrite)
    _remove_leftovers(dest)
    remove_work(work)
    write_json(work / PLAN_FILE, {**plan, OVERWRITE: True} if overwrite else plan)
    return False


def _check_work(work: Path) -> None:
    """Refuse a folder of this name that is somebody else's: all of it goes when a packing is done."""
    if not os.path.lexists(work):
        return
    if work.is_symlink() or not work.is_dir():
        raise DataError(f"{work}: stands where the packing needs a folder of its own; move it away")
    foreign = [name for name in sorted(os.listdir(work)) if not is_of_work(target_of_temporary(name) or name)]
    if foreign:
        raise DataError(
            f"{work}: holds {', '.join(foreign[:SHOWN])}, which no packing command wrote; move that away, for the packing "
            "needs this folder and removes it"
        )


def _is_begun(work: Path) -> bool:
    return (work / PLAN_FILE).is_file()


def _begun_plan(work: Path) -> dict[str, Any]:
    return dict(read_object(work / PLAN_FILE))


def _changed(plan: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    return sorted(key for key in {**plan, **earlier} if plan.get(key) != earlier.get(key))


def _refuse(dest: Path, changed: list[str]) -> None:
    raise DataError(
        f"{dest}: made with other arguments or from other files (different: {', '.join(changed)}); "
        "give --overwrite to replace it, or another --dest"
    )


def _check_foreign(dest: Path, overwrite: bool) -> None:
    """Refuse files of others: with --overwrite all, else those that readers would take for part of the manifest."""
    own = own_files(dest)
    foreign = [name for name in file_names(dest) if name not in own and (overwrite or is_part(name))]
    if foreign:
        names = ", ".join(foreign[:SHOWN]) + (f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else "")
        raise DataError(
            f"{dest}: holds files of unknown origin, which no packing command wrote: {names}; "
            "move them away, or choose another --dest"
        )


def _adopt_shards(dest: Path) -> None:
    """Take over the finished shards of a run begun by a version of this package that wrote them beside the work folder."""
    work = dest / WORK_FOLDER
    if (dest / MANIFEST_FILE).exists():
        return
    for result in work.glob("records-*.json"):
        name = result.with_suffix(".npy").name
        if (dest / name).is_file() and not (work / name).exists():
            os.replace(dest / name, work / name)


def _remove_leftovers(dest: Path) -> None:
    """Delete the temporary files that killed commands left beside files of theirs."""
    with os.scandir(dest) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        target = target_of_temporary(name)
        if target is not None and is_part(target):
            (dest / name).unlink()
