"""WFDB records: a header with gains and checksums, and samples of 16 bits, or of 32 where these do not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmelt_plugin.data.files import atomic_path, write_texts
from cmelt_plugin.data.readers.contract import one_line
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.writing.digital import digitised


def write_wfdb(path: Path, recording: Recording) -> list[Path]:
    """``path``.hea and ``path``.dat. The name of ``path`` may have letters, digits, ``-`` and ``_``."""
    digital = digitised(recording.signal)
    leads, samples = digital.counts.shape
    start = "" if recording.start is None else f" {recording.start:%H:%M:%S %d/%m/%Y}"
    lines = [f"{path.name} {leads} {recording.sample_rate!r} {samples}{start}"]
    sums = (digital.counts.sum(axis=1, dtype=np.int64) + 32768) % 65536 - 32768
    for lead, step, first, checksum in zip(recording.leads, digital.steps, digital.counts[:, 0], sums):
        gain = f"{float(1 / step)!r}(0)/mV"
        lines.append(f"{path.name}.dat {digital.bits} {gain} {digital.bits} 0 {first} {checksum} 0 {one_line(lead)}")
    facts = {"Age": recording.age, "Sex": recording.sex, "Device": recording.device, "Filters": recording.filters}
    lines += [f"# {name}: {value if isinstance(value, float) else one_line(value)}" for name, value in facts.items() if value]
    data = path.with_name(f"{path.name}.dat")
    with atomic_path(data) as temporary:
        temporary.write_bytes(digital.counts.T.astype(f"<i{digital.bits // 8}").tobytes())
    return [data, *write_texts(path.parent, {f"{path.name}.hea": "\n".join(lines) + "\n"})]
