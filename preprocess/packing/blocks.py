"""Packing one block of input records into one shard, so that a killed run loses one block and not the night.

Input records in their order are cut into blocks of fixed size. Block ``b`` leaves the shard of its good rows and then,
as the sign that it is finished, ``records-{b}.json`` with what the manifest needs to know, both in the folder ``.packing``
of the manifest directory. Neither depends on other blocks, so any number of processes gives the same files.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

from tqdm import tqdm

from cmelt_plugin.data.directory.checksums import WORK_FOLDER
from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.data.readers.contract import Recording, Rejected
from cmelt_plugin.data.store.record_store import shard_name
from cmelt_plugin.data.store.shard_writer import describe_shard, write_shard
from cmelt_plugin.errors import DataError
from preprocess.packing.duplicates import DUPLICATE, Earlier, FirstUsable
from preprocess.packing.engines import Engine
from preprocess.packing.implausible import measured_row
from preprocess.packing.recording import SignalOptions, Unusable, to_row

__all__ = ["PLAN_FILE", "WORK_FOLDER", "Block", "pack_block", "pack_blocks", "pack_shared_block"]

PLAN_FILE = "plan.json"
VISIBLE_SECONDS = 90.0  # Linux' NFS client trusts what it knows of a folder for up to 60 s (nfs(5), acdirmax)


class Block(NamedTuple):
    """One unit of work; everything in it can be sent to another process."""

    number: int
    start: int
    """Input number of the first record."""
    paths: list[str]
    reasons: list[str]
    """Why a record is rejected before its signal is looked at; "" = it is not."""
    root: str
    work: str
    """Folder for shard and result."""
    reader: Callable[[str], Recording]
    options: SignalOptions
    earlier: Earlier = {}
    """Of records whose id occurred before: the earlier ones (:mod:`preprocess.packing.duplicates`)."""
    earlier_paths: dict[int, str] = {}
    """Paths of those of them that are in other blocks."""

    @property
    def shard_path(self) -> Path:
        return Path(self.work) / shard_name(self.number)

    @property
    def result_path(self) -> Path:
        return self.shard_path.with_suffix(".json")

    def is_done(self) -> bool:
        """Whether an earlier run finished this block and its shard is still there."""
        if not self.result_path.is_file():
            return False
        result = read_json(self.result_path)
        # Without "measured": from a version that did not measure, whose run was stopped.
        return "measured" in result and (not result["rows"] or self.shard_path.is_file())


def pack_block(block: Block, tick: Callable[[], Any] | None = None) -> int:
    """Read, check and write the records of a block; ``tick`` is called after each. Returns the number of records.

    The result file holds ``rows`` (input number, real samples, Hz of the original, clipped samples), ``rejected``
    (input number, reason), ``shard`` (entry of ``store.json``), ``measured`` (see :func:`measured_row`) and ``doubts`` (input
    number, reasons), the last two also of records that were rejected after they were measured, and ``notes``: how many
    records each of the readers' notes is true of.
    """
    rows: list[tuple[int, int, float, int]] = []
    rejected: list[tuple[int, str]] = []
    measured: list[list[float | int | None]] = []
    doubts: list[tuple[int, list[str]]] = []
    first = FirstUsable(block.earlier, functools.partial(_is_usable, block))
    notes: Counter[str] = Counter()
    with write_shard(block.shard_path) as shard:
        for number, (path, reason) in enumerate(zip(block.paths, block.reasons), start=block.start):
            plausibility = None
            try:
                reason = DUPLICATE if number in block.earlier and first.is_duplicate(number) else reason
                if reason:
                    raise Rejected(*reason.split(": ", 1))
                row = to_row(block.reader(os.path.join(block.root, path)), block.options)
                shard.append(row.digital)
                notes.update(row.notes)
                rows.append((number, row.n_samples, row.rate, row.clipped))
                plausibility = row.plausibility
            except Rejected as rejection:
                rejected.append((number, str(rejection)))
                plausibility = rejection.plausibility if isinstance(rejection, Unusable) else None
            first.note(number, bool(rows) and rows[-1][0] == number)
            if plausibility is not None:
                measured.append(measured_row(number, plausibility))
                if plausibility.reasons:
                    doubts.append((number, [str(doubt) for doubt in plausibility.reasons]))
            if tick is not None:
                tick()
    if not rows:
        block.shard_path.unlink(missing_ok=True)  # gone where a cluster ran this block twice at once
    entry = describe_shard(block.shard_path, len(rows)) if rows else None
    result = {"rows": rows, "rejected": rejected, "shard": entry, "measured": measured, "doubts": doubts, "notes": notes}
    write_json(block.result_path, result)
    return len(block.paths)


def _is_usable(block: Block, number: int) -> bool:
    """Whether a record of an earlier block can be used."""
    try:
        to_row(block.reader(os.path.join(block.root, block.earlier_paths[number])), block.options)
    except Rejected:
        return False
    return True


def pack_blocks(blocks: Sequence[Block], engine: Engine, total: int) -> None:
    """Pack the blocks that are not done, with a progress bar over ``total`` records.

    Raises:
        DataError: a worker was killed, or a machine of the cluster does not see the same folders.
    """
    waiting = [block for block in blocks if not block.is_done()]
    if not waiting:
        return
    initial = total - sum(len(block.paths) for block in waiting)
    with tqdm(total=total, initial=initial, unit="record", desc="packing") as bar:
        if engine.in_process(len(waiting)):
            for block in waiting:
                pack_block(block, tick=bar.update)
            return
        if not engine.remote:
            engine.run(pack_block, waiting, bar.update)
            return
        landmarks = _landmarks(waiting[0])
        engine.run(functools.partial(pack_shared_block, landmarks=landmarks, seconds=VISIBLE_SECONDS), waiting, bar.update)
    for block in waiting:
        if not _soon(block.is_done, VISIBLE_SECONDS):
            raise DataError(f"{block.result_path}: written by a worker, but not seen here; --dest must be one shared folder")


def pack_shared_block(block: Block, landmarks: Sequence[str], seconds: float) -> int:
    """:func:`pack_block` on another machine, which is asked first whether it sees the same folders.

    Without the input every record would be listed as missing, without the output every row would be lost.

    Raises:
        DataError: one of the paths ``landmarks`` does not exist here after waiting for ``seconds``.
    """
    for path in landmarks:
        if not _soon(functools.partial(os.path.exists, path), seconds):
            raise DataError(f"{path}: not seen on {socket.gethostname()}; every worker needs the same folders")
    return pack_block(block)


def _landmarks(block: Block) -> list[str]:
    """Paths that show whether input and output are in place; an entry of the root tells it from an empty mount point."""
    landmarks = [str(Path(block.work) / PLAN_FILE), block.root]
    with os.scandir(block.root) as entries:
        lasting = (entry.path for entry in entries if not entry.name.startswith("."))
        return landmarks + list(itertools.islice(lasting, 1))


def _soon(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a file is there, given time: network file systems remember for a while that a name was not there."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(0.2)
    return True
