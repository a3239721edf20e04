"""EDF files of known counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin.data.leads import LEADS


def write(
    path: Path,
    counts: Sequence[np.ndarray],
    labels: Sequence[str] = LEADS,
    *,
    record: int = 100,
    rates: Sequence[int] = (),
    seconds: str = "0.2",
    unit: str = "uV",
    physical: tuple[str, str] = ("-81920", "81917.5"),
    digital: tuple[int, int] = (-32768, 32767),
    kind: str = "EDF+C",
    patient: str = "X F 29-FEB-1960 X",
    recording: str = "Startdate 01-MAR-2020 X X X",
    records: int | None = None,
) -> Path:
    """Write one row of counts a signal, ``record`` samples (or those of ``rates``) of each in a data record."""
    widths = list(rates) or [record] * len(counts)
    number = len(counts[0]) // widths[0]
    count = len(counts)

    def column(size: int, values: Sequence) -> str:
        return "".join(str(value).ljust(size)[:size] for value in values)

    main = column(8, "0") + column(80, [patient]) + column(80, [recording]) + "01.03.20" + "07.30.00"
    main += column(8, [256 * (count + 1)]) + column(44, [kind]) + column(8, [number if records is None else records])
    main += column(8, [seconds]) + column(4, [count])
    every = [""] * count
    head = column(16, labels) + column(80, every)
    head += column(8, ["" if label == "EDF Annotations" else unit for label in labels])
    for value in (*physical, *digital):
        head += column(8, [value] * count)
    head += column(80, ["HP:0.05Hz LP:150Hz"] * count) + column(8, widths) + column(32, every)
    parts = [np.asarray(row, "<i2")[: number * width].reshape(number, width) for row, width in zip(counts, widths)]
    path.write_bytes((main + head).encode("latin-1") + np.concatenate(parts, axis=1).tobytes())
    return path
