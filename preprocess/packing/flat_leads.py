"""Which recordings of a manifest directory have flat leads.

Evaluation sets keep such recordings, because published results include them; the list helps whoever looks at a wrong
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.directory.own_files import FLAT_LEADS_FILE
from cmelt_plugin.data.directory.replacing import replacing
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore

BATCH = 64  # recordings, 8 MB
SHOWN = 5


def note_flat_leads(directory: Path) -> int:
    """Write flat-leads.tsv (record_id, split, leads) of every split, print a summary, return the number of recordings.

    A lead is flat when it is constant over the real samples of the recording.
    """
    rows: list[tuple[str, str, str]] = []
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        ids = manifest.meta(["record_id"])["record_id"].to_pylist()
        store = RecordStore(manifest.store_root)
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            digital = store.read_digital(manifest.shard[part], manifest.row[part])
            for record, leads, n_samples in zip(ids[part], digital, manifest.n_samples[part]):
                real = leads[:, :n_samples]
                flat = real.max(axis=1) == real.min(axis=1)
                if flat.any():
                    rows.append((record, split, ", ".join(lead for lead, chosen in zip(LEADS, flat) if chosen)))
    with replacing(directory, [FLAT_LEADS_FILE]):
        _write(directory / FLAT_LEADS_FILE, rows)
    print(f"{len(rows)} recordings with flat leads are kept, see {FLAT_LEADS_FILE}")
    for record, split, leads in rows[:SHOWN]:
        print(f"  {record} ({split}): {leads}")
    return len(rows)


def _write(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as handle:
            handle.write("record_id\tsplit\tleads\n")
            handle.writelines("\t".join(row) + "\n" for row in rows)
