"""Packing one block of input records into one shard, so that a killed run loses one block and not the night.

Input records in their order are cut into blocks of fixed size. Block ``b`` leaves the shard of its good rows and then,
as the sign that it is finished, ``.packing/records-{b}.json`` with what the manifest needs to know. Neither depends on
other blocks, so any number of processes gives the same files.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Callable, NamedTuple

from tqdm import tqdm

from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.data.store import describe_shard, shard_name, write_shard
from cmelt_plugin.errors import DataError
from preprocess.recording import Recording, Rejected, SignalOptions, to_row

WORK_FOLDER = ".packing"


class Block(NamedTuple):
    """One unit of work; everything in it can be sent to another process."""

    number: int
    start: int
    """Input number of the first record."""
    paths: list[str]
    reasons: list[str]
    """Why a record is rejected before its signal is looked at; "" = it is not."""
    root: str
    dest: str
    reader: Callable[[str], Recording]
    options: SignalOptions

    @property
    def shard_path(self) -> Path:
        return Path(self.dest) / shard_name(self.number)

    @property
    def result_path(self) -> Path:
        return Path(self.dest) / WORK_FOLDER / self.shard_path.with_suffix(".json").name

    def is_done(self) -> bool:
        """Whether an earlier run finished this block and its shard is still there."""
        if not self.result_path.is_file():
            return False
        return not read_json(self.result_path)["rows"] or self.shard_path.is_file()


def pack_block(block: Block, tick: Callable[[], Any] | None = None) -> int:
    """Read, check and write the records of a block; ``tick`` is called after each. Returns the number of records.

    The result file holds ``rows`` (input number, real samples, Hz of the original, clipped samples), ``rejected``
    (input number, reason) and ``shard`` (entry of ``store.json``).
    """
    rows: list[tuple[int, int, float, int]] = []
    rejected: list[tuple[int, str]] = []
    with write_shard(block.shard_path) as shard:
        for number, (path, reason) in enumerate(zip(block.paths, block.reasons), start=block.start):
            try:
                if reason:
                    raise Rejected(*reason.split(": ", 1))
                row = to_row(block.reader(os.path.join(block.root, path)), block.options)
                shard.append(row.steps)
                rows.append((number, row.n_samples, row.rate, row.clipped))
            except Rejected as rejection:
                rejected.append((number, str(rejection)))
            if tick is not None:
                tick()
    if not rows:
        block.shard_path.unlink()
    entry = describe_shard(block.shard_path, len(rows)) if rows else None
    write_json(block.result_path, {"rows": rows, "rejected": rejected, "shard": entry})
    return len(block.paths)


def pack_blocks(blocks: Sequence[Block], jobs: int, total: int) -> None:
    """Pack the blocks that are not done, in ``jobs`` processes, with a progress bar over ``total`` records."""
    waiting = [block for block in blocks if not block.is_done()]
    if not waiting:
        return
    initial = total - sum(len(block.paths) for block in waiting)
    with tqdm(total=total, initial=initial, unit="record", desc="packing") as bar:
        if jobs == 1 or len(waiting) <= 1:
            for block in waiting:
                pack_block(block, tick=bar.update)
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(jobs, len(waiting)), mp_context=context, initializer=_prepare_worker)
        try:
            for future in as_completed([pool.submit(pack_block, block) for block in waiting]):
                bar.update(future.result())
            pool.shutdown()
        except BrokenProcessPool:
            raise DataError(
                "a worker process was killed (out of memory?); run the same command again to go on, with fewer --jobs"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _prepare_worker() -> None:
    """End with the parent: without a traceback at Ctrl-C, and at once when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if not parent.is_alive():
        os._exit(1)

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
