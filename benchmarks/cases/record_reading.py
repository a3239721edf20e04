"""Reading records: packed store → float32 batch, against one .mat file per record and a bare NumPy gather.

Batches of 128 random records, one thread, page cache warm. ``mat`` opens one file per record (:mod:`benchmarks.naive.records`),
``packed`` is ``RecordStore.read``, ``packed, own buffer`` the same into an array that is used again.

Physical limit: memory traffic. A record is 120 kB of int16 to read and 240 kB of float32 to write, and a new batch array
(31 MB) has its pages cleared by the system before it is written. ``gather`` is what NumPy reaches, ``take`` of the rows, which
copies int16 and converts nothing; the store's own int16 reading, ``packed int16``, has the same result. Each of the two
writes into an array of its own that is used again (with new ones, which of them pays for cleared pages is a matter of the
allocator's state) and runs after a contestant that has filled the processor's cache with float32. ``gather to mV`` is
``rows[index]`` and the conversion in new arrays, with the result of ``packed``.
"""

from __future__ import annotations

from typing import Callable

import numpy as np

from benchmarks.harness import material
from benchmarks.harness.options import Options, one_thread
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.timing import race
from benchmarks.naive.records import read_mat_files, write_mat_files
from cmelt_plugin.data.store.record_store import MV_PER_UNIT, ROW_SHAPE, RecordStore

BATCH = 128


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    n_records, batches = (96, 2) if options.quick else (1024, 8)
    batch = min(BATCH, n_records // 2)
    rng = np.random.default_rng(0)
    orders = [rng.choice(n_records, batch, replace=False) for _ in range(batches)]
    with options.temporary() as folder, one_thread():
        shard, row = material.write_store(folder / "store", n_records)
        store = RecordStore(folder / "store")
        distinct = store.read(shard[: material.DISTINCT], row[: material.DISTINCT])
        mat_files = np.array(write_mat_files(folder / "mat", distinct))
        rows = np.asarray(np.load(folder / "store" / store.files[0], mmap_mode="r"))
        buffer = np.empty((batch, *ROW_SHAPE), dtype=np.float32)
        digital, gathered = (np.empty((batch, *ROW_SHAPE), dtype=np.int16) for _ in range(2))
        scale = np.float32(MV_PER_UNIT)

        def gather_mv(index: np.ndarray) -> np.ndarray:
            ecg = rows[index].astype(np.float32)
            ecg *= scale
            return ecg

        one = {
            "packed": lambda i: store.read(shard[i], row[i]),
            "packed int16": lambda i: store.read_digital(shard[i], row[i], out=digital),
            "packed, own buffer": lambda i: store.read(shard[i], row[i], out=buffer),
            # The other modes of take fill a new array first and copy it.
            "gather": lambda i: np.take(rows, i, axis=0, out=gathered, mode="clip"),
            "gather to mV": gather_mv,
            "mat": lambda i: read_mat_files(mat_files[i % len(mat_files)]),
        }
        outputs = {name: function(orders[0]) for name, function in one.items()}
        for name in ("packed, own buffer", "gather to mV", "mat"):
            np.testing.assert_array_equal(outputs[name], outputs["packed"], err_msg=name)
        np.testing.assert_array_equal(outputs["packed int16"], outputs["gather"])

        def over_all(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[], None]:
            def read() -> None:
                for order in orders:
                    function(order)

            return read

        timed = race({name: over_all(function) for name, function in one.items()}, options.choose_rounds(9))
    records = batch * batches
    return Outcome(
        ratios=[
            *timed.ratio("packed / mat", "mat", "packed"),
            *timed.ratio("packed / gather to mV", "gather to mV", "packed"),
            *timed.ratio("packed int16 / gather", "gather", "packed int16"),
            *timed.ratio("packed / gather", "gather", "packed"),
            *timed.ratio("packed, own buffer / gather", "gather", "packed, own buffer"),
        ],
        figures=[figure for name in one for figure in timed.rate(name, records, "records/s")],
        checks=["all contestants return the same values, bit for bit"],
        settings={"records": n_records, "batch": batch, "batches": batches},
    )
