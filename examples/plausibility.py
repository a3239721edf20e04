"""How large real recordings are, how noisy, and which faults would show: what the thresholds of packing were chosen by.

For each manifest directory, and each source in it, the numbers of :mod:`cmelt_plugin.data.plausibility`, of the recordings as
they are stored; with ``--faults`` also in how many of all recordings a fault put into them would be refused or named.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmelt_plugin.data.batches.ecg import ECGDataset
from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.limb_leads import LIMB_LEADS
from cmelt_plugin.data.plausibility import Measures, Plausibility, examine, nothing_left
from cmelt_plugin.data.store.record_store import to_digital
from cmelt_plugin.tables import markdown, percent

HEAD = (
    *("set", "recordings", "amplitude, mV", "limb-lead residual", "mains power", "distinct values", "offset, mV"),
    *("saturated time", "lead spread", "doubtful"),
)


def stored(directory: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Source and ECG (``[12, T]`` float64 mV, real samples) of each recording of a manifest directory, split by split."""
    for split in available_splits(directory):
        manifest = Manifest.open(directory, split)
        data = ECGDataset(manifest)
        sources = manifest.meta(["source"])["source"].to_pylist()
        for row in tqdm(range(len(manifest)), desc=f"{directory.name}, {split}", unit="recording"):
            ecg, _ = data.read_ecg(np.array([row]))
            yield f"{directory.name}, {sources[row]}", ecg[0, :, : manifest.n_samples[row]].numpy().astype(np.float64)


def examined(ecg: np.ndarray) -> Plausibility:
    """:func:`cmelt_plugin.data.plausibility.examine` of mV, as packing calls it."""
    given = ecg.any(axis=1)
    return examine(ecg, *to_digital(ecg), given)


def summary(name: str, results: Sequence[Plausibility]) -> list[str]:
    """A row of :data:`HEAD`: amplitude as median (minimum–maximum); distinct values, lead spread: minimum; others: maximum."""
    measures = Measures(*map(np.array, zip(*(result.measures for result in results))))
    codes = sorted({reason.code for result in results for reason in result.reasons})
    doubtful = sum(bool(result.reasons) for result in results)
    amplitude = measures.amplitude
    return [
        name,
        f"{len(results):,}",
        f"{np.median(amplitude):.2f} ({np.min(amplitude):.2f}–{np.max(amplitude):.2f})",
        f"{percent(np.nanmax(measures.residual), 1)} %",
        f"{percent(np.nanmax(measures.hum), 1)} %",
        f"{np.min(measures.levels)}",
        f"{np.max(measures.offset):.2f}",
        f"{percent(np.max(measures.standing), 1)} %",
        f"{percent(np.nanmin(measures.spread), 0)} %",
        f"{doubtful} ({', '.join(codes)})" if codes else "0",
    ]


def of_lead(lead: int, factor: float) -> Callable[[np.ndarray], np.ndarray]:
    """One lead times a factor."""
    factors = np.where(np.arange(12) == lead, factor, 1.0)[:, None]
    return lambda ecg: ecg * factors


def exchange(one: int, other: int) -> Callable[[np.ndarray], np.ndarray]:
    """Two leads' columns exchanged."""
    order = np.arange(12)
    order[[one, other]] = other, one
    return lambda ecg: ecg[order]


def faults() -> dict[str, list[Callable[[np.ndarray], np.ndarray]]]:
    """Name → the changes of an ECG that are this fault."""
    limb = range(len(LIMB_LEADS))
    return {
        "unit: 1,000 times too large": [lambda ecg: 1000 * ecg],
        "unit: 1,000 times too small": [lambda ecg: ecg / 1000],
        "gain: 200 times too large": [lambda ecg: 200 * ecg],
        "gain: 200 times too small": [lambda ecg: ecg / 200],
        "gain: 5 times too large": [lambda ecg: 5 * ecg],
        "gain: 5 times too small": [lambda ecg: ecg / 5],
        "offset of 6 mV": [lambda ecg: ecg + 6],
        "two limb leads exchanged": [exchange(one, other) for one in limb for other in range(one + 1, len(LIMB_LEADS))],
        "a limb lead inverted": [of_lead(lead, -1.0) for lead in limb],
        "a limb lead at half its size": [of_lead(lead, 0.5) for lead in limb],
        "none": [lambda ecg: ecg],
    }


def is_named(ecg: np.ndarray) -> bool:
    """Whether packing would refuse the recording or call it doubtful."""
    digital, clipped = to_digital(ecg)
    given = ecg.any(axis=1)
    return nothing_left(ecg, digital, clipped, given) is not None or bool(examine(ecg, digital, clipped, given).reasons)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIRECTORY", help="manifest directories")
    parser.add_argument("--faults", action="store_true", help="put faults into the recordings and count how many are named")
    arguments = parser.parse_args(argv)
    results: dict[str, list[Plausibility]] = {}
    kinds = faults() if arguments.faults else {}
    counts: dict[str, list[int]] = {name: [0] * len(changes) for name, changes in kinds.items()}
    for directory in arguments.directories:
        for source, ecg in stored(directory):
            results.setdefault(source, []).append(examined(ecg))
            for name, changes in kinds.items():
                for number, change in enumerate(changes):
                    counts[name][number] += is_named(change(ecg))
    print(markdown(HEAD, [summary(source, of_source) for source, of_source in results.items()]), end="")
    if kinds:
        total = sum(map(len, results.values()))
        rows = [[name, _range(named, total)] for name, named in counts.items()]
        print("\n" + markdown(("fault", f"named, of {total:,} recordings"), rows), end="")
    return 0


def _range(named: Sequence[int], total: int) -> str:
    low, high = min(named), max(named)
    counts = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    shares = percent(low / total, 1) if low == high else f"{percent(low / total, 1)}–{percent(high / total, 1)}"
    return f"{counts} ({shares} %)"


if __name__ == "__main__":
    sys.exit(run(main))
