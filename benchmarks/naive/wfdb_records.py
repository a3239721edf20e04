"""The least that any preparation of WFDB records with the wfdb package has to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import wfdb

LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")


def read_records(paths: list[Path]) -> np.ndarray:
    """Read each record and put its leads in order: float32 ``[n, 12, samples]`` mV."""
    out = []
    for path in paths:
        record = wfdb.rdrecord(str(path))
        names = [name.lower() for name in record.sig_name]
        out.append(record.p_signal[:, [names.index(lead) for lead in LEADS]].T.astype(np.float32))
    return np.stack(out)
