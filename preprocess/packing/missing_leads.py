"""Which leads the recordings of a store have, where recordings of fewer than 12 leads were accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cmelt_plugin.data.leads import LEADS


def count_leads(shards: Iterable[Path]) -> Counter[tuple[str, ...]]:
    """How many records have exactly which leads; a lead counts as there when any of its samples is not zero.

    Args:
        shards: files of int16 ``[n, 12, 5000]``; those that do not exist (no record of them was usable) are passed over.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    for path in shards:
        if not path.is_file():
            continue
        for digital in np.load(path, mmap_mode="r", allow_pickle=False):
            counts[tuple(lead for lead, there in zip(LEADS, digital.any(axis=1)) if there)] += 1
    return counts


def lead_notes(shards: Iterable[Path]) -> list[str]:
    """Sentences for ``manifest.json``: the lead sets that occur, the most frequent first."""
    counts = count_leads(shards)
    order = sorted(counts, key=lambda leads: (-counts[leads], [LEADS.index(lead) for lead in leads]))
    return ["leads a recording lacks are zero", *(f"leads {', '.join(leads)}: {counts[leads]} records" for leads in order)]
